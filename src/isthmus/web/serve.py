"""`serve`: run the server, in this process or in several."""

import os
from collections.abc import Callable
from typing import Any

from isthmus.core.errors import BadInput
from isthmus.web.app import ENVIRONMENT, create_app
from isthmus.web.settings import Settings, check_address

__all__ = ["serve"]

GRACE = 10
"""Seconds that requests in work have to end when the server is told to stop."""
BACKLOG = 512


def serve(settings: Settings, *, workers: int = 1, announce: Callable[[str], None] = lambda address: None) -> None:
    """Serve until stopped; `announce` is told the address once everything is open.

    Raises `BadInput` for an address that nothing guards, and what opening the indexes raises. Several workers serve
    the same folders: each sees what the others have written with its next search.
    """
    import uvicorn

    check_address(settings)
    if workers < 1:
        raise BadInput(f"--workers {workers}: at least 1 is needed")
    settings = Settings.from_json(settings.to_json())
    app = create_app(settings)  # what cannot be served is said here, once, before any worker starts
    announce(f"http://{f'[{settings.host}]' if ':' in settings.host else settings.host}:{settings.port}/")
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "log_level": "warning",
        "access_log": False,
        "server_header": False,
        "backlog": BACKLOG,
        "limit_concurrency": None,
        "timeout_keep_alive": 30,
        "timeout_graceful_shutdown": GRACE,
        "h11_max_incomplete_event_size": 65536,
    }
    if workers == 1:
        uvicorn.run(app, **options)
        return
    os.environ[ENVIRONMENT] = settings.to_json()
    uvicorn.run("isthmus.web.app:from_environment", factory=True, workers=workers, **options)
