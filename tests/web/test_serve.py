"""`isthmus serve` as a person runs it."""

import signal

import pytest

from isthmus import encoders
from isthmus.core.errors import BadInput
from isthmus.web.collection import open_shelves
from isthmus.web.settings import Settings
from tests.cli.conftest import isthmus, refused

from .process import asked, ended, free_port, started
from .served import wav


@pytest.mark.usefixtures("socket_enabled")
def test_it_runs_until_it_is_stopped(index):
    port = free_port()
    server = started(index.path, port)
    try:
        search = "/v1/collections/default/search"
        assert asked(port, search, {"text": "blue", "k": 1})[1]["hits"][0]["key"] == "blue"
        assert asked(port, "/v1/collections/none/search", {"text": "blue"})[0] == 404
        # curl of an old kind, and a body that ends too early
        assert asked(port, search, {"text": ""})[0] == 400
    finally:
        code = ended(server, signal.SIGINT)
    assert code in (0, 1, -signal.SIGINT)


@pytest.mark.usefixtures("socket_enabled")
def test_workers_see_each_other(index):
    port = free_port()
    server = started(index.path, port, "--workers", "2")
    try:
        item = {"items": [{"key": "dusk", "modality": "text", "text": "violet"}]}
        assert asked(port, "/v1/collections/colours/upsert", item)[0] == 200
        for _ in range(8):
            found = asked(port, "/v1/collections/colours/search", {"text": "violet", "modality": "text", "k": 2})[1]
            assert "dusk" in {hit["key"] for hit in found["hits"]}
    finally:
        ended(server)


def test_what_cannot_be_served(index, tmp_path, monkeypatch):
    assert "--key-file" in refused(isthmus("serve", index.path, "--host", "0.0.0.0"))
    assert "no such file" in refused(isthmus("serve", index.path, "--key-file", tmp_path / "keys"))
    assert "is not an index" in refused(isthmus("serve", tmp_path / "nothing"))
    assert "both called" in refused(isthmus("serve", "a=b", "a=c"))
    assert "ports go" in refused(isthmus("serve", index.path, "--port", "70000"))
    assert "at least 1" in refused(isthmus("serve", index.path, "--workers", "0"))
    assert "NAME=VALUE" in refused(isthmus("serve", index.path, "--store", "somewhere"))
    assert "no store" in refused(isthmus("serve", f"a={index.path}", "--store", f"a={tmp_path}"))


def test_an_encoder_that_is_missing_does_not_stop_the_rest(index, client_of, monkeypatch):
    real = encoders.load

    def load(name, modality, *, device="cpu"):
        if modality == "image":
            raise BadInput("no weights for pictures")
        return real(name, modality, device=device)

    monkeypatch.setattr(encoders, "load", load)
    client = client_of(index.path)
    states = client.get("/v1/encoders").json()["colours"]
    assert states == {"image": "no weights for pictures", "speech": "ready", "text": "ready"}
    assert client.post("/v1/collections/colours/search", json={"text": "red"}).status_code == 200


def test_pictures_of_a_folder_come_from_its_store(index, tmp_path):
    from isthmus.web.items import shown

    shelves = open_shelves(Settings(folders={"a": str(index.path)}, stores={}))
    found = shelves.collection("a")
    found.root = tmp_path / "pictures"
    kind, content = shown(found, "image", "file:red.png", 96)
    assert kind == "image/webp" and content[8:12] == b"WEBP"
    with pytest.raises(BadInput, match="outside"):
        shown(found, "image", "file:../colours/index.json", 96)
    (tmp_path / "pictures" / "say.wav").write_bytes(wav("red"))
    kind, content = shown(found, "speech", "file:say.wav", 96)
    assert kind == "audio/wav" and content[:4] == b"RIFF"
