"""What a server is told when it starts, as plain values that a worker process can be given."""

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isthmus.core.errors import BadInput

__all__ = ["Settings", "check_address", "named_folders"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a server runs: what it serves, who may call it, and how much of anything it takes.

    `folders` {name: folder of an index or a space}, the first of which is called ``default`` too; `stores` {name:
    folder of the store that an index was made of}, for pictures and recordings.
    """

    folders: Mapping[str, str]
    stores: Mapping[str, str]
    host: str = "127.0.0.1"
    port: int = 8000
    key_file: str | None = None
    read_only: bool = False
    origins: tuple[str, ...] = ()
    """Web sites whose pages may call the server (CORS); none by default."""
    hosts: tuple[str, ...] = ()
    """Names that the server is called by, beside its address; on loopback all others are refused."""
    device: str = "cpu"
    max_body: int = 32_000_000
    """Bytes of a request, at most."""
    max_held: int = 256_000_000
    """Bytes of all requests in work, at most."""
    max_items: int = 1024
    """Items of one request, at most: texts to embed, documents to rank, items to write."""
    max_k: int = 1000
    max_waiting: int = 256
    """Requests in work or waiting at once; the next one is told to come back."""
    body_seconds: float = 20.0
    """How long a request may take to arrive."""

    def to_json(self) -> str:
        """Return the settings as JSON, for the environment of a worker."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """Return the settings of `to_json`."""
        stored: dict[str, Any] = json.loads(text)
        stored |= {name: tuple(stored[name]) for name in ("origins", "hosts")}
        return cls(**stored)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Say whether an address is reached from its own machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(settings: Settings) -> None:
    """Raise `BadInput` for an address that others can reach and that nothing guards."""
    if not settings.loopback and settings.key_file is None:
        raise BadInput(
            f"--host {settings.host} can be reached by others: give a file of keys with --key-file, one a line, or "
            "stay on 127.0.0.1"
        )
    if not 0 <= settings.port <= 65535:
        raise BadInput(f"--port {settings.port}: ports go from 0 to 65535")


def named_folders(given: list[str]) -> dict[str, str]:
    """Return {name: folder} of arguments FOLDER or NAME=FOLDER.

    A folder without a name is called as it is, or as the one around it where it is just an "index" or "space".
    Raises `BadInput` for two of one name, and for names that could not stand in an address.
    """
    found: dict[str, str] = {}
    for argument in given:
        name, equals, folder = argument.partition("=")
        if not equals or Path(argument).exists():
            path = Path(argument).resolve()
            name, folder = path.parent.name if path.name in ("index", "space") else path.name, argument
        if not name or name == "default" or not all(c.isalnum() or c in "-_." for c in name):
            raise BadInput(f"{argument}: {name!r} cannot be its name; give one of letters and digits, NAME={folder}")
        if name in found:
            raise BadInput(f"{found[name]} and {folder} are both called {name}: give one another name, NAME={folder}")
        found[name] = folder
    if not found:
        raise BadInput("name at least one index to serve")
    return found
