"""The server as an ASGI app: every route, behind the guard."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse
from prometheus_client import CONTENT_TYPE_LATEST

import isthmus
from isthmus.core.errors import NotFound
from isthmus.web import items, openai, searching, writing
from isthmus.web.errors import add_handlers, refusal
from isthmus.web.guard import Guard, Keys
from isthmus.web.served import Served
from isthmus.web.settings import Settings
from isthmus.workbench import bench

__all__ = ["ENVIRONMENT", "PAGE", "create_app", "from_environment"]

ENVIRONMENT = "ISTHMUS_SERVE"
"""The variable that carries the settings to a worker process."""
PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def create_app(settings: Settings) -> FastAPI:
    """Return the app that serves some indexes; the errors are those of opening them and of reading the keys."""
    keys = Keys(settings.key_file) if settings.key_file else None
    served = Served.of(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(served.load())
        yield
        loading.cancel()
        served.encoding.close()

    app = FastAPI(
        title="Isthmus", version=isthmus.__version__, lifespan=lifespan, docs_url=None, redoc_url=None, debug=False
    )
    app.state.served = served
    add_handlers(app)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
        )
    app.add_middleware(Guard, settings=settings, metrics=served.metrics, keys=keys)
    for module in (openai, searching, writing, items):
        app.include_router(module.router(served))

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Say that the server lives."""
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> Any:
        """Say whether the encoders are loaded, so that no request waits for one."""
        if not served.ready:
            return refusal(503, "encoders are being loaded", headers={"Retry-After": "1"})
        return {"status": "ready"}

    @app.get("/v1/encoders")
    async def encoders() -> dict[str, dict[str, str]]:
        """What can be asked with: {collection: {modality: ready, loading, or why not}}."""
        return served.states

    @app.get("/metrics")
    async def metrics() -> Response:
        """Everything that is counted, as Prometheus reads it."""
        return Response(served.scrape(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/methods")
    async def methods() -> dict[str, Any]:
        """The catalogue of methods with their claims and what was measured."""
        return {"methods": await asyncio.to_thread(bench.table)}

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return _file("index.html")

    @app.get("/page/{name}", include_in_schema=False)
    async def part(name: str) -> FileResponse:
        return _file(name)

    return app


def _file(name: str) -> FileResponse:
    """Return a file of the page; no other is there, whatever the name."""
    known = {path.name: path for path in PAGE.iterdir() if path.suffix in TYPES} if PAGE.is_dir() else {}
    if name not in known:
        raise NotFound.named("file", name, known)
    return FileResponse(known[name], media_type=TYPES[known[name].suffix], headers={"Cache-Control": "no-cache"})


def from_environment() -> FastAPI:
    """Return the app of the settings in the environment, for a worker process."""
    return create_app(Settings.from_json(os.environ[ENVIRONMENT]))
