"""Writing through a server: on disk when it is answered, seen by the next search, gone when it is deleted."""

import pytest

from isthmus.index.index import Index
from isthmus.store.disk import locked
from isthmus.web import collection

from . import served
from .served import png, uri, wav

AT = "/v1/collections/colours"


def search(client, **body):
    return client.post(f"{AT}/search", json=body).json()["hits"]


def test_upsert_and_delete(client, index):
    items = [
        {"key": "dusk", "modality": "image", "image": uri(png("violet")), "meta": {"name": "dusk", "year": "2030"}},
        {"key": "dusk", "modality": "text", "text": "violet and red", "uri": "https://example.org/dusk"},
        {"key": "given", "modality": "text", "vector": [0.5] * served.WIDTH, "text": "a vector of the encoder"},
    ]
    done = client.post(f"{AT}/upsert", json={"items": items})
    assert done.json() == {"upserted": 3, "ids": ["dusk|image|", "dusk|text|", "given|text|"]}, done.text
    assert len(Index.open(index.path)) == 15, "on disk when it is answered"
    assert search(client, text="violet", where="year == 2030")[0]["key"] == "dusk"
    shown = client.get(f"{AT}/content", params={"id": "dusk|image|", "size": 96})
    assert shown.headers["content-type"] == "image/webp"
    again = client.post(f"{AT}/upsert", json={"items": [{**items[0], "image": uri(png("red"))}]})
    assert again.status_code == 200 and len(Index.open(index.path)) == 15
    assert search(client, text="red", where="year == 2030")[0]["score"] > 0.99
    assert client.post(f"{AT}/delete", json={"ids": ["dusk|image|"]}).json() == {"deleted": 1}
    assert not list((index.path / "uploads").iterdir()), "the picture that nobody names is gone too"
    assert client.post(f"{AT}/delete", json={"where": "key == 'given'"}).json() == {"deleted": 1}
    assert client.get(f"{AT}/content", params={"id": "dusk|image|"}).status_code == 404


def test_upload(client, index):
    files = [("file", ("../../a night.png", png("blue"), "text/html")), ("file", ("say.wav", wav("green")))]
    done = client.post(f"{AT}/upload", files=files)
    assert done.json()["ids"] == ["a night.png|image|", "say.wav|speech|"], done.text
    assert search(client, text="green", modality="speech")[0]["key"] == "say.wav"
    heard = client.get(f"{AT}/content", params={"id": "say.wav|speech|"})
    assert heard.headers["content-type"] == "audio/wav" and heard.content[:4] == b"RIFF"
    one = client.post(f"{AT}/upload", files=files[:1], data={"key": "night", "text": "a blue night"})
    assert one.json()["ids"] == ["night|image|"]
    refused = client.post(f"{AT}/upload", files={"file": ("a.exe", b"MZ")})
    assert refused.status_code == 415 and "neither a picture" in refused.text
    assert client.post(f"{AT}/upload", files=files, data={"key": "two"}).status_code == 400
    assert client.post(f"{AT}/upload", data={"key": "none"}).status_code == 400


@pytest.mark.parametrize(
    ("item", "status", "says"),
    [
        ({"key": "a", "modality": "smell", "text": "a"}, 404, "unknown modality"),
        ({"key": "a", "modality": "image"}, 400, "image is needed"),
        ({"key": "a", "modality": "text"}, 400, "a text is needed"),
        ({"key": "a", "modality": "text", "vector": [1.0]}, 400, "gives 8 numbers"),
        ({"key": "a", "modality": "text", "vector": [1e300] * 8}, 400, "32 bits"),
        ({"key": "a\x00", "modality": "text", "text": "a"}, 400, "key"),
        ({"key": "a", "modality": "te|xt", "text": "a"}, 400, "without '|'"),
        ({"key": "a", "modality": "text", "text": "a", "uri": "file:../../etc/passwd"}, 400, "uri"),
        ({"key": "a", "modality": "image", "image": uri(b"RIFF0000WAVE")}, 400, "cannot be read"),
        ({"key": "a", "modality": "image", "image": uri(b"%PDF"), "vector": [1.0] * 8}, 415, "neither a picture"),
        ({"key": "a", "modality": "speech", "sound": uri(wav("red")[:44])}, 400, "recording"),
    ],
)
def test_what_cannot_be_written(client, index, item, status, says):
    done = client.post(f"{AT}/upsert", json={"items": [{"key": "fine", "modality": "text", "text": "red"}, item]})
    assert done.status_code == status and says in done.json()["error"]["message"], done.text
    assert len(Index.open(index.path)) == 12, "all of a request or nothing"


def test_requests_that_hold_together(client):
    twice = [{"key": "a", "modality": "text", "text": "a"}] * 2
    assert "the same key" in client.post(f"{AT}/upsert", json={"items": twice}).json()["error"]["message"]
    assert client.post(f"{AT}/delete", json={}).status_code == 400
    assert client.post(f"{AT}/delete", json={"ids": ["none|text|"]}).status_code == 404
    many = [{"key": str(i), "modality": "text", "text": "a"} for i in range(1025)]
    assert client.post(f"{AT}/upsert", json={"items": many}).status_code == 413


def test_servers_that_do_not_write(index, client_of, tmp_path):
    item = {"items": [{"key": "a", "modality": "text", "text": "a"}]}
    refused = client_of(index.path, read_only=True).post(f"{AT}/upsert", json=item)
    assert refused.status_code == 409 and "--read-only" in refused.text
    vectors = {"image": index.vectors("image")}
    record = {"image": {"asked": "nnn"}}
    entries = {
        "image": served.Vectors.of(
            served.READERS["colours_image"].encode("image", [served.sample("image", c) for c in served.COLOURS]),
            served.READERS["colours_image"].fingerprint,
            keys=list(served.COLOURS),
        )
    }
    bias = {"image": list(range(len(vectors["image"])))}
    corrected = Index.build(tmp_path / "corrected", space=index.space, entries=entries, bias=bias, correction=record)
    client = client_of(corrected.path)
    refused = client.post(f"{AT}/upsert", json=item)
    assert refused.status_code == 409 and "--update" in refused.text
    plain, applied = (search(client, text="white", corrected=c) for c in (False, True))
    assert plain[0]["key"] == "white" and applied[0]["key"] == "red", "the correction of the index is applied"
    hubs = client.get(f"{AT}/diagnosis").json()["hubs"]
    assert hubs == [], "one modality asks nothing of itself"


def test_what_another_process_writes_is_seen(client, index):
    assert len(search(client, text="red", modality="image", k=10)) == 6
    Index.open(index.path).remove(["red|image|"])
    assert len(search(client, text="red", modality="image", k=10)) == 5


def test_another_writer(client, index, monkeypatch):
    monkeypatch.setattr(collection, "PATIENCE", 0.1)
    item = {"items": [{"key": "a", "modality": "text", "text": "a"}]}
    with locked(index.path, kind="an index"):
        done = client.post(f"{AT}/upsert", json=item)
    assert done.status_code == 503 and done.headers["retry-after"] == "1"
    assert client.post(f"{AT}/upsert", json=item).status_code == 200
