"""Searching what is served: /v1/collections/{name}/search, and clip-retrieval's /knn-service."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError

from isthmus.core.errors import BadInput
from isthmus.index.hit import Hit
from isthmus.web.asking import asked_for, vectors_of
from isthmus.web.collection import Collection
from isthmus.web.schemas import Knn, Part, Search
from isthmus.web.served import Served
from isthmus.workbench.ask import ask

__all__ = ["found", "router"]


async def found(served: Served, collection: Collection, body: Search) -> list[Hit]:
    """Return the hits of a search, as `workbench.ask` gives them."""
    served.check_k(body.k, *(body.quota or {}).values())
    index = collection.index
    asked = await asked_for(index.space, body, body.minus)
    x = await vectors_of(served.encoding, index.space, [*asked.wanted, *asked.unwanted])
    settings: dict[str, Any] = body.model_dump(include={"k", "modality", "where", "quota", "corrected", "exact"})
    return await asyncio.to_thread(ask, index, asked, encoded=x, **settings)


def router(served: Served) -> APIRouter:
    """Return the routes that search."""
    routes = APIRouter()

    @routes.post("/v1/collections/{name}/search")
    async def search(name: str, body: Search) -> dict[str, Any]:
        """The best hits for a text, a picture, a recording, a vector, or several of them, less what is not wanted."""
        collection = served.shelves.collection(name)
        hits = await found(served, collection, body)
        applied = body.corrected and bool(collection.index.correction)
        return {"collection": collection.name, "corrected": applied, "hits": [hit.to_json() for hit in hits]}

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
        return [_known(hit) for hit in await found(served, collection, wanted)]

    return routes


def _known(hit: Hit) -> dict[str, Any]:
    """Return a hit with the names that clip-retrieval gives."""
    caption = hit.text or hit.meta.get("name", "")
    return {"id": hit.id, "similarity": hit.score, "url": hit.uri or "", "caption": caption}
