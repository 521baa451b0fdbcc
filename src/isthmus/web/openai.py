"""The routes that clients of other servers know: OpenAI's embeddings and models, and reranking."""

import base64
from typing import Any

import numpy as np
from fastapi import APIRouter

from isthmus.core.errors import BadInput
from isthmus.metrics.vectors import unit
from isthmus.space import Space
from isthmus.web.asking import asked_for, items_of, vectors_of
from isthmus.web.schemas import EmbeddingRequest, Message, Part, Rerank
from isthmus.web.served import Served

__all__ = ["conversation", "router"]


def router(served: Served) -> APIRouter:
    """Return /v1/embeddings, /v1/models and /v1/rerank."""
    routes = APIRouter(prefix="/v1")

    @routes.post("/embeddings")
    async def embeddings(body: EmbeddingRequest) -> dict[str, Any]:
        """Vectors in a space: of texts as OpenAI takes them, or one of a conversation as vLLM takes it."""
        space = served.shelves.space(body.model)
        if (body.input is None) == (body.messages is None):
            raise BadInput("give either input or messages")
        if body.dimensions not in (None, space.dim):
            raise BadInput(f"dimensions: vectors of this space have {space.dim} numbers and are not cut")
        if body.messages is not None:
            asked = await asked_for(space, conversation(body.messages))
            x = await vectors_of(served.encoding, space, asked.wanted)
            x = x if len(x) == 1 else asked.combined(x)
        else:
            texts = [body.input] if isinstance(body.input, str) else list(body.input or ())
            served.check_items(len(texts))
            items = [item for i, text in enumerate(texts) for item in await items_of(space, text, f"input {i}")]
            x = await vectors_of(served.encoding, space, items)
        data = [
            {"object": "embedding", "index": i, "embedding": _written(row, body.encoding_format)}
            for i, row in enumerate(x)
        ]
        usage = {"prompt_tokens": 0, "total_tokens": 0}  # encoders differ in what a token is, and nobody pays
        return {"object": "list", "data": data, "model": body.model, "usage": usage}

    @routes.get("/models")
    async def models() -> dict[str, Any]:
        """Every space that is served, the first one as ``default`` too."""
        return {"object": "list", "data": [_model(name) for name in ["default", *served.shelves.names]]}

    @routes.get("/models/{name}")
    async def model(name: str) -> dict[str, Any]:
        """One space."""
        return _model(name)

    def _model(name: str) -> dict[str, Any]:
        space: Space = served.shelves.space(name)
        known = {"dim": space.dim, "modalities": space.modalities, "space": space.digest}
        return {"id": name, "object": "model", "created": 0, "owned_by": "isthmus", **known}

    @routes.post("/rerank")
    async def rerank(body: Rerank) -> dict[str, Any]:
        """Documents by their cosine with a query, the best first; either may be a text, a picture or a recording."""
        space = served.shelves.space(body.model)
        served.check_items(len(body.documents))
        query = Part(text=body.query) if isinstance(body.query, str) else body.query
        asked = await asked_for(space, query)
        items = list(asked.wanted)
        for i, document in enumerate(body.documents):
            one = await items_of(space, document, f"document {i}")
            if len(one) > 1:
                raise BadInput(f"document {i} is several things; it is one text, image, sound or vector")
            items += one
        x = await vectors_of(served.encoding, space, items)
        n = len(asked.wanted)
        scores = (unit(x[n:]) @ asked.combined(x[:n])[0]).tolist()
        order = np.argsort(-np.array(scores), kind="stable")[: body.top_n].tolist()
        results = [
            {
                "index": i,
                "relevance_score": scores[i],
                **({"document": _shown(body.documents[i])} if body.return_documents else {}),
            }
            for i in order
        ]
        return {"model": body.model, "results": results, "usage": {"total_tokens": 0}}

    return routes


def conversation(messages: list[Message]) -> Part:
    """Return what a conversation holds as one part: its texts joined, at most one picture and one recording.

    Parts are those of OpenAI: ``text``, ``image_url`` (a data URI) and ``input_audio``. `BadInput` for others.
    """
    texts: list[str] = []
    images: list[str] = []
    sounds: list[str] = []
    for message in messages:
        if isinstance(message.content, str):
            texts.append(message.content)
            continue
        for part in message.content:
            kind = part.get("type")
            value = part.get(kind) if isinstance(kind, str) else None
            if kind == "image_url" and isinstance(value, dict):
                value = value.get("url")
            if kind == "input_audio" and isinstance(value, dict):
                value = value.get("data")
            place = {"text": texts, "image_url": images, "input_audio": sounds}.get(str(kind))
            if place is None or not isinstance(value, str) or not value:
                raise BadInput(
                    'messages: a part is {"type": "text", "text": …}, {"type": "image_url", "image_url": {"url": '
                    '"data:…"}} or {"type": "input_audio", "input_audio": {"data": …}}'
                )
            place.append(value)
    if len(images) > 1 or len(sounds) > 1:
        raise BadInput("messages: one vector is made of at most one picture and one recording")
    return Part(text="\n".join(texts) or None, image="".join(images) or None, sound="".join(sounds) or None)


def _written(row: np.ndarray, form: str) -> list[float] | str:
    """Return a vector as numbers, or as base64 of 32-bit floats, the lowest byte first."""
    return base64.b64encode(row.astype("<f4").tobytes()).decode() if form == "base64" else row.tolist()


def _shown(document: str | Part) -> dict[str, Any]:
    """Return a document as it was sent."""
    return {"text": document} if isinstance(document, str) else document.model_dump(exclude_none=True)
