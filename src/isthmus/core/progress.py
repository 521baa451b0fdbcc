"""How long work reports where it is. The library never prints; a shell passes its own `Progress`."""

from typing import Protocol

__all__ = ["Progress", "silent"]


class Progress(Protocol):
    """Called as work advances: `done` of `total` units (None when unknown) of a named stage."""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Report one step."""
        ...


def silent(stage: str, done: int, total: int | None) -> None:
    """Report nothing."""
