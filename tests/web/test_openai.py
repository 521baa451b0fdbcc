"""OpenAI's routes, with its own client over a real connection, and what it cannot say."""

import base64
import contextlib
import socket
import threading
import time

import numpy as np
import pytest

from isthmus.web.settings import Settings

from .served import png, sample, uri, wav


@contextlib.contextmanager
def running(settings):
    """Run a real server in a thread on a free port, and give its address."""
    import uvicorn

    from isthmus.web.app import create_app

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not (server.started and app.state.served.ready):
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.usefixtures("socket_enabled")
def test_the_client_of_openai(index, tmp_path):
    import openai

    (tmp_path / "keys").write_text("# of the test\na-key-of-thirty-two-characters-x\n")
    settings = Settings(folders={"colours": str(index.path)}, stores={}, key_file=str(tmp_path / "keys"))
    with running(settings) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="a-key-of-thirty-two-characters-x", max_retries=0)
        expected = index.space.encode("text", ["red", "blue sky"])
        for form in ("base64", "float"):  # base64 is what it asks for by itself
            made = client.embeddings.create(model="default", input=["red", "blue sky"], encoding_format=form)
            x = [e.embedding for e in made.data]
            x = [np.frombuffer(base64.b64decode(e), "<f4") for e in x] if isinstance(x[0], str) else x
            np.testing.assert_allclose(x, expected, atol=1e-6)
        assert len(client.embeddings.create(model="colours", input="red").data[0].embedding) == 3
        assert [model.id for model in client.models.list()] == ["default", "colours"]
        assert client.models.retrieve("colours").owned_by == "isthmus"
        with pytest.raises(openai.NotFoundError, match="unknown model 'gpt'"):
            client.embeddings.create(model="gpt", input="red")
        with pytest.raises(openai.BadRequestError, match="dimensions"):
            client.embeddings.create(model="default", input="red", dimensions=2)
        wrong = openai.OpenAI(base_url=f"{address}/v1", api_key="b", max_retries=0)
        with pytest.raises(openai.AuthenticationError, match="a key is needed"):
            wrong.embeddings.create(model="default", input="red")


def said(client, *parts):
    body = {"model": "default", "messages": [{"role": "user", "content": list(parts)}]}
    return client.post("/v1/embeddings", json=body)


def test_conversations_of_vllm(client, index):
    picture = {"type": "image_url", "image_url": {"url": uri(png("blue"))}}
    sound = {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav("green")).decode(), "format": "wav"}}
    for part, modality, name in ((picture, "image", "blue"), (sound, "speech", "green")):
        made = said(client, part).json()["data"]
        assert len(made) == 1
        expected = index.space.encode(modality, [sample(modality, name)])[0]
        np.testing.assert_allclose(made[0]["embedding"], expected, atol=1e-5)
    both = said(client, picture, {"type": "text", "text": "red"}).json()["data"][0]["embedding"]
    parts = index.space.encode("image", [sample("image", "blue")]) + index.space.encode("text", ["red"])
    np.testing.assert_allclose(both, parts[0] / np.linalg.norm(parts), atol=1e-5)
    assert said(client, picture, picture).status_code == 400
    assert said(client, {"type": "video_url", "video_url": {"url": "a"}}).status_code == 400
    away = said(client, {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}})
    assert away.status_code == 400 and "an address" in away.text


def test_rerank(client):
    documents = ["blue", {"image": uri(png("red"))}, {"text": "violet"}]
    body = {"model": "default", "query": "red", "documents": documents, "return_documents": True}
    results = client.post("/v1/rerank", json=body).json()["results"]
    assert [r["index"] for r in results] == [1, 2, 0] and results[1]["document"] == {"text": "violet"}
    scores = [r["relevance_score"] for r in results]
    assert scores == sorted(scores, reverse=True) and scores[0] == pytest.approx(1, abs=1e-6)
    assert len(client.post("/v1/rerank", json={**body, "top_n": 1}).json()["results"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"input": []},
        {"input": ["red", ""]},
        {"input": ["red", " "]},
        {"input": [[1, 2, 3]]},
        {"input": "red", "messages": [{"content": "red"}]},
        {"input": "red", "encoding_format": "hex"},
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": {"a": 1}}]}]},
        {"messages": []},
    ],
)
def test_what_cannot_be_embedded(client, body):
    assert client.post("/v1/embeddings", json={"model": "default", **body}).status_code == 400
