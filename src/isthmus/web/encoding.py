"""Encoders shared by all requests: what waits at the same time is encoded together."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from isthmus.core.errors import IsthmusError
from isthmus.space import Space

__all__ = ["Batcher", "Encoding"]

LARGEST = 64
"""Items of one batch, at most."""


class Batcher:
    """Collects items while its function is at work, and gives it all that wait at once: nobody waits for company.

    `run` takes a list of items to one result an item, in a thread of its own. An item that it refuses spoils nothing
    for the others: a batch that fails is run again, request by request.
    """

    def __init__(self, run: Callable[[list[Any]], Sequence[Any]], *, largest: int = LARGEST) -> None:
        self._run, self._largest = run, largest
        self._waiting: list[tuple[list[Any], asyncio.Future[list[Any]]]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="isthmus-encode")
        self._task: asyncio.Task[None] | None = None
        self.batches = self.items = 0

    async def __call__(self, items: Sequence[Any]) -> list[Any]:
        """Return the results of some items, in order."""
        if not items:
            return []
        loop = asyncio.get_running_loop()
        result: asyncio.Future[list[Any]] = loop.create_future()
        self._waiting.append((list(items), result))
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._work(loop))
        return await result

    async def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            taken = [self._waiting.pop(0)]
            n = len(taken[0][0])
            while self._waiting and n + len(self._waiting[0][0]) <= self._largest:
                taken.append(self._waiting.pop(0))
                n += len(taken[-1][0])
            taken = [(items, result) for items, result in taken if not result.cancelled()]
            try:
                await self._together(loop, taken)
            except Exception as error:
                if len(taken) == 1 or not isinstance(error, IsthmusError):
                    for _, result in taken:
                        _settle(result, error)
                    continue
                for one in taken:
                    try:
                        await self._together(loop, [one])
                    except Exception as alone:
                        _settle(one[1], alone)

    async def _together(
        self, loop: asyncio.AbstractEventLoop, taken: Sequence[tuple[list[Any], asyncio.Future[list[Any]]]]
    ) -> None:
        items = [item for each, _ in taken for item in each]
        if not items:
            return
        found = await loop.run_in_executor(self._thread, self._run, items)
        self.batches += 1
        self.items += len(items)
        start = 0
        for each, result in taken:
            if not result.done():
                result.set_result(list(found[start : start + len(each)]))
            start += len(each)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _settle(result: asyncio.Future[list[Any]], error: Exception) -> None:
    if not result.done():
        result.set_exception(error)


class Encoding:
    """Encodes for all spaces that are served; spaces of one encoder share it, and its batches."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.batchers: dict[str, Batcher] = {}
        self._encoders: dict[str, Any] = {}
        self._lock = threading.Lock()

    def load(self, space: Space, modality: str) -> Any:
        """Return the encoder that a map of a space accepts, loaded once for all; raises what `Space.encoder` does."""
        with self._lock:
            fingerprint = space.maps[modality].fingerprint if modality in space.maps else None
            if fingerprint is None or fingerprint.digest not in self._encoders:
                made = space.encoder(modality, device=self.device)  # which says what is wrong with an unknown modality
                space.accepts(modality, made.fingerprint)
                self._encoders[made.fingerprint.digest] = made
                return made
            return self._encoders[fingerprint.digest]

    async def raw(self, space: Space, modality: str, items: Sequence[Any]) -> np.ndarray:
        """Return the encoder's own vectors (n, d) of items; raises what `Space.encode` does."""
        return np.array(await self._batched("raw", space, modality, items), np.float32)

    async def mapped(self, space: Space, modality: str, items: Sequence[Any]) -> np.ndarray:
        """Return the vectors in the space (n, d) of items; raises what `Space.encode` does."""
        if modality in space.maps and space.maps[modality].takes_tokens:
            return np.array(await self._batched("tokens", space, modality, items), np.float32)
        vectors = await self.raw(space, modality, items)
        return np.asarray(space.transform(modality, vectors), np.float32)

    async def _batched(self, what: str, space: Space, modality: str, items: Sequence[Any]) -> list[Any]:
        loop = asyncio.get_running_loop()
        digest = space.maps[modality].fingerprint.digest if modality in space.maps else ""
        encoder: Any = self._encoders.get(digest) or await loop.run_in_executor(None, self.load, space, modality)
        name = f"{what}:{modality}:{digest}" + (f":{space.digest}" if what == "tokens" else "")
        if name not in self.batchers:

            def run(batch: list[Any]) -> Any:
                if what == "tokens":
                    return space.encode(modality, batch, encoder=encoder)
                return encoder.encode(modality, batch)

            self.batchers[name] = Batcher(run)
        return await self.batchers[name](items)

    def close(self) -> None:
        """End all threads."""
        for batcher in self.batchers.values():
            batcher.close()
