"""Asking a server: what it finds is what the index finds, however it is asked."""

import json

import numpy as np
import pytest

from isthmus.workbench.ask import Question, ask

from .served import READERS, png, sample, uri, wav

SEARCH = "/v1/collections/colours/search"


def found(client, **body):
    done = client.post(SEARCH, json=body)
    assert done.status_code == 200, done.text
    return done.json()["hits"]


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({"text": "red"}, Question((("text", "red"),))),
        ({"image": uri(png("blue"))}, Question((("image", sample("image", "blue")),))),
        ({"sound": uri(wav("green"), "audio/wav")}, Question((("speech", sample("speech", "green")),))),
        (
            {"text": "blue", "image": uri(png("red")), "minus": ["green"]},
            Question((("image", sample("image", "red")), ("text", "blue")), (("text", "green"),)),
        ),
        ({"text": "red", "minus": [{"image": uri(png("blue"))}]}, None),
    ],
    ids=["text", "picture", "sound", "composed", "minus a picture"],
)
def test_a_search_is_that_of_the_index(client, index, body, asked):
    hits = found(client, k=4, **body)
    if asked is not None:
        assert hits == [hit.to_json() for hit in ask(index, asked, k=4)]
    assert len(hits) == 4 and all(hit["id"] and np.isfinite(hit["score"]) for hit in hits)


def test_pictures_sounds_and_words_find_their_colour(client):
    assert found(client, image=uri(png("violet")), k=1)[0]["key"] == "violet"
    assert found(client, sound=uri(wav("yellow"), "audio/wav"), modality="image", k=1)[0]["key"] == "yellow"
    assert found(client, text="something green", modality=["image"], k=1)[0]["key"] == "green"


def test_a_vector(client, index):
    x = index.vectors("image")[2]
    hits = found(client, vector=x.tolist(), k=2, modality="image")
    assert [hit["key"] for hit in hits] == [hit.key for hit in index.search(x[None], k=2, modality="image")[0]]
    assert {hit["modality"] for hit in found(client, vector=x.tolist(), k=4)} == {"image", "text"}


def test_what_a_hit_was_found_for(client):
    hits = found(client, text="blue", image=uri(png("red")), minus=["green", "white"], explain=True, k=3)
    assert [list(hit["parts"]) for hit in hits] == [["+ image", "+ text", "− text 1", "− text 2"]] * 3
    near = {hit["key"]: hit["parts"] for hit in hits}
    assert near["red"]["+ image"] == pytest.approx(1, abs=1e-5)
    assert near["blue"]["+ text"] == pytest.approx(1, abs=1e-5)
    assert "parts" not in found(client, text="blue")[0]


def test_filters_and_quotas(client):
    assert {hit["key"] for hit in found(client, text="red", where="year > 2003")} == {"violet", "white"}
    assert [h["modality"] for h in found(client, text="red", quota={"image": 2, "text": 1})] == [
        *("image", "text", "image"),
    ]


def test_knn_service_as_its_client_calls_it(client):
    """The client of clip-retrieval posts JSON without a content type, with fields of safety that we do not know."""
    body = {
        "text": "red",
        "image": None,
        "image_url": None,
        "embedding_input": None,
        "modality": "image",
        "num_images": 2,
        "indice_name": "colours",
        "use_mclip": False,
        "aesthetic_score": 9,
        "use_safety_model": True,
        "deduplicate": True,
    }
    done = client.post("/knn-service", content=json.dumps(body))
    assert done.status_code == 200, done.text
    assert [set(hit) for hit in done.json()] == [{"id", "similarity", "url", "caption"}] * 2
    assert done.json()[0]["caption"] == "red"
    refused = client.post("/knn-service", content=json.dumps({"image_url": "http://127.0.0.1/a.png"}))
    assert refused.status_code == 400 and "nothing is fetched" in refused.text


def test_requests_at_once_are_encoded_together(client):
    """While one batch is at work what comes in waits, and is the next batch."""
    from concurrent.futures import ThreadPoolExecutor

    reader = READERS["colours_text"]
    reader.batches.clear()
    with ThreadPoolExecutor(16) as pool:
        hits = list(pool.map(lambda i: found(client, text=f"red {i}", k=1)[0]["key"], range(64)))
    assert hits == ["red"] * 64
    assert sum(reader.batches) == 64


def test_what_is_known_of_a_collection(client):
    assert client.get("/v1/collections").json()["collections"][0]["rows"] == {"image": 6, "text": 6}
    assert client.get("/v1/collections/default").json()["asks"] == ["image", "speech", "text"]
    item = client.get("/v1/collections/colours/item", params={"id": "red|text|"}).json()
    assert item["text"] == "red" and item["meta"]["year"] == "2000"
    points = client.get("/v1/collections/colours/map").json()["points"]
    assert len(points) == 12 and all(0 <= p["x"] <= 1 and 0 <= p["y"] <= 1 for p in points)
    health = client.get("/v1/collections/colours/diagnosis").json()
    assert list(health["modality_gap"]) == ["image and text"]
    assert {(h["asking"], h["offered"]) for h in health["hubs"]} == {("image", "text"), ("text", "image")}
    assert all(h["before"]["evenly"] == 6 and h["after"] is None for h in health["hubs"]), "ten of six are all"
    named = {method["name"]: method for method in client.get("/v1/methods").json()["methods"]}
    assert named["dbnorm"]["claim"]


def test_health_and_metrics(client):
    found(client, text="red")
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ready"}
    assert client.get("/v1/encoders").json()["colours"] == dict.fromkeys(("image", "speech", "text"), "ready")
    counted = client.get("/metrics").text
    assert 'isthmus_requests_total{method="POST",route="/v1/collections/{name}/search",status="200"} 1.0' in counted
    assert 'isthmus_items{collection="colours",modality="image"} 6.0' in counted
    assert "/v1/rerank" in client.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 400, "holds nothing"),
        ({"text": " "}, 400, "empty"),
        ({"text": "red", "k": 0}, 400, "greater than or equal to 1"),
        ({"text": "red", "k": 5000}, 413, "at most 1000 hits"),
        ({"text": "red", "kk": 3}, 400, "kk"),
        ({"text": "red", "minus": ["red"]}, 400, "nothing is left"),
        ({"text": "red", "where": "colour =="}, 400, "filter"),
        ({"text": "red", "where": "nothing == 'a'"}, 404, "nothing"),
        ({"text": "red", "modality": "smell"}, 404, "smell"),
        ({"text": "red", "modality": "image", "quota": {"text": 1}}, 400, "either modality or quota"),
        ({"vector": [1.0]}, 400, "3 numbers"),
        ({"image": "http://example.org/a.png"}, 400, "an address"),
        ({"image": "file:///etc/passwd"}, 400, "an address"),
        ({"image": uri(b"GIF8 nothing")}, 400, "cannot be read"),
        ({"image": uri(b"MZ")}, 415, "not a PNG"),
        ({"image": "data:image/png,abc"}, 400, "data URI"),
    ],
)
def test_what_cannot_be_asked(client, body, status, says):
    done = client.post(SEARCH, json=body)
    assert done.status_code == status, done.text
    assert says in done.json()["error"]["message"]


def test_unknown_names(client):
    done = client.post("/v1/collections/colour/search", json={"text": "red"})
    assert done.status_code == 404 and "did you mean 'colours'" in done.json()["error"]["message"]
    assert client.get("/nothing").json()["error"]["type"] == "not_found_error"
    assert client.get(SEARCH).status_code == 405


def test_a_space_without_an_index_embeds(tmp_path, client_of):
    from .served import colour_space

    colour_space().save(tmp_path / "space")
    client = client_of(tmp_path / "space")
    done = client.post("/v1/embeddings", json={"input": "red", "model": "default"})
    assert len(done.json()["data"][0]["embedding"]) == 3
    assert client.post(SEARCH, json={"text": "red"}).status_code == 404
