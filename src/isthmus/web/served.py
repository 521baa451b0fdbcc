"""What every route works with: the shelves, the encoders, the counts and the limits of one server process."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from isthmus.core.errors import IsthmusError
from isthmus.web.collection import Shelves, open_shelves
from isthmus.web.encoding import Encoding
from isthmus.web.errors import TooMuch
from isthmus.web.metrics import Metrics
from isthmus.web.settings import Settings

__all__ = ["Served"]


@dataclass
class Served:
    """One server process: what it serves, and what it has loaded so far."""

    settings: Settings
    shelves: Shelves
    encoding: Encoding
    metrics: Metrics
    states: dict[str, dict[str, str]] = field(default_factory=dict)
    """{name: {modality: loading, ready, or why it cannot be encoded}}."""

    @classmethod
    def of(cls, settings: Settings) -> "Served":
        """Open everything that is to be served; the errors are those of `open_shelves`."""
        shelves = open_shelves(settings)
        states = {name: dict.fromkeys(shelves.space(name).modalities, "loading") for name in shelves.names}
        return cls(settings, shelves, Encoding(settings.device), Metrics(), states)

    async def load(self) -> None:
        """Load the encoders of all spaces, one after the other; what cannot be loaded is noted with the reason."""
        for name, states in self.states.items():
            space = self.shelves.space(name)
            for modality in states:
                try:
                    await asyncio.to_thread(self.encoding.load, space, modality)
                    states[modality] = "ready"
                except IsthmusError as error:
                    states[modality] = str(error)

    @property
    def ready(self) -> bool:
        """Whether no encoder is still being loaded."""
        return all(state != "loading" for states in self.states.values() for state in states.values())

    def check_items(self, n: int) -> None:
        """Raise `TooMuch` for more items than one request may hold."""
        if n > self.settings.max_items:
            raise TooMuch(f"a request holds at most {self.settings.max_items} items, got {n}: send several requests")

    def check_k(self, *limits: int | None) -> None:
        """Raise `TooMuch` for more hits than one request may ask for."""
        if any(limit is not None and limit > self.settings.max_k for limit in limits):
            raise TooMuch(f"a search gives at most {self.settings.max_k} hits")

    def scrape(self) -> bytes:
        """Return the counts as Prometheus reads them."""
        for name, collection in self.shelves.collections.items():
            for modality, rows in collection.index.status()["rows"].items():
                self.metrics.items.labels(name, modality).set(rows)
        batchers: list[Any] = list(self.encoding.batchers.values())
        self.metrics.encoded.set(sum(b.items for b in batchers))
        self.metrics.batches.set(sum(b.batches for b in batchers))
        return self.metrics.text()
