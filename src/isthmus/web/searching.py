"""Searching what is served: /v1/collections/{name}/search, and clip-retrieval's /knn-service."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError

from isthmus.core.errors import BadInput
from isthmus.index.hit import Hit
from isthmus.web.asking import asked_for, vectors_of
from isthmus.web.collection import Collection
from isthmus.web.schemas import Knn, Part, Search
from isthmus.web.served import Served
from isthmus.workbench.ask import ask, by_part

__all__ = ["found", "router"]


async def found(served: Served, collection: Collection, body: Search) -> tuple[list[Hit], list[dict[str, float]]]:
    """Return the hits of a search, as `workbench.ask` gives them, and how near each is to each part if asked for."""
    served.check_k(body.k, *(body.quota or {}).values())
    index = collection.index
    asked = await asked_for(index.space, body, body.minus)
    x = await vectors_of(served.encoding, index.space, [*asked.wanted, *asked.unwanted])
    settings: dict[str, Any] = body.model_dump(include={"k", "modality", "where", "quota", "corrected", "exact"})
    hits = await asyncio.to_thread(ask, index, asked, encoded=x, **settings)
    if not body.explain:
        return hits, []
    names = _names([name for name, _ in asked.wanted], "+") + _names([name for name, _ in asked.unwanted], "−")
    scores = await asyncio.to_thread(by_part, index, hits, x)
    return hits, [dict(zip(names, of, strict=True)) for of in scores.tolist()]


def _names(modalities: Sequence[str], sign: str) -> list[str]:
    """Return what the parts of a question are called: + image, + text, − text 1, − text 2."""
    many = {m for m, n in Counter(modalities).items() if n > 1}
    return [f"{sign} {m}" + (f" {modalities[: i + 1].count(m)}" if m in many else "") for i, m in enumerate(modalities)]


def router(served: Served) -> APIRouter:
    """Return the routes that search."""
    routes = APIRouter()

    @routes.post("/v1/collections/{name}/search")
    async def search(name: str, body: Search) -> dict[str, Any]:
        """The best hits for a text, a picture, a recording, a vector, or several of them, less what is not wanted."""
        collection = served.shelves.collection(name)
        hits, parts = await found(served, collection, body)
        applied = body.corrected and bool(collection.index.correction)
        told = [hit.to_json() for hit in hits]
        if body.explain:
            told = [{**hit, "parts": of} for hit, of in zip(told, parts, strict=True)]
        return {"collection": collection.name, "corrected": applied, "hits": told}

    @routes.post("/knn-service")
    async def knn(request: Request) -> list[dict[str, Any]]:
        """Hits in the shape that clip-retrieval's client reads, which sends JSON without saying so."""
        try:
            body = Knn.model_validate_json(await request.body())
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the body"
            raise BadInput(f"{where}: {first['msg']}") from None
        if body.image_url is not None:
            raise BadInput("image_url: nothing is fetched; send the picture itself as image, in base64")
        collection = served.shelves.collection(body.indice_name)
        part = Part(text=body.text, image=body.image, vector=body.embedding_input)
        wanted = Search(**part.model_dump(exclude_none=True), k=body.num_images, modality=body.modality)
        return [_known(hit) for hit in (await found(served, collection, wanted))[0]]

    return routes


def _known(hit: Hit) -> dict[str, Any]:
    """Return a hit with the names that clip-retrieval gives."""
    caption = hit.text or hit.meta.get("name", "")
    return {"id": hit.id, "similarity": hit.score, "url": hit.uri or "", "caption": caption}
