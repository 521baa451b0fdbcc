"""Encoding for many at once: together where they wait together, and nobody pays for another's mistake."""

import asyncio
import threading

import numpy as np
import pytest

from isthmus import encoders
from isthmus.core.errors import BadInput
from isthmus.space import Map, Space
from isthmus.web.encoding import Batcher, Encoding

from . import served


def together(*requests, run, largest=64):
    """Give several requests to a batcher while its first batch is at work; return what each got."""
    open_ = threading.Event()
    batches = []

    def work(items):
        if not batches:
            open_.wait(10)
        batches.append(list(items))
        return run(items)

    async def ask():
        batcher = Batcher(work, largest=largest)
        first = asyncio.ensure_future(batcher(["first"]))
        await asyncio.sleep(0.02)
        asked = [first, *(asyncio.ensure_future(batcher(items)) for items in requests)]
        await asyncio.sleep(0.02)
        open_.set()
        results = await asyncio.gather(*asked, return_exceptions=True)
        batcher.close()
        return results[1:]

    return asyncio.run(ask()), batches


def lengths(items):
    if "bad" in items:
        raise BadInput("bad is bad")
    if "broken" in items:
        raise ZeroDivisionError
    return [len(item) for item in items]


def test_what_waits_is_one_batch():
    results, batches = together(["a", "bb"], [], ["ccc"], run=lengths)
    assert results == [[1, 2], [], [3]]
    assert batches == [["first"], ["a", "bb", "ccc"]]


def test_batches_have_a_size():
    results, batches = together(["a"] * 3, ["bb"] * 3, ["c"] * 9, run=lengths, largest=6)
    assert results == [[1] * 3, [2] * 3, [1] * 9]
    assert [len(batch) for batch in batches] == [1, 6, 9], "a request stays whole"


def test_one_request_that_is_refused_spoils_no_other():
    results, batches = together(["a"], ["bad"], ["ccc"], run=lengths)
    assert results[0] == [1] and results[2] == [3]
    assert isinstance(results[1], BadInput)
    assert batches[1:] == [["a", "bad", "ccc"], ["a"], ["bad"], ["ccc"]]


def test_a_defect_is_told_to_all():
    results, _ = together(["a"], ["broken"], run=lengths)
    assert [type(result) for result in results] == [ZeroDivisionError] * 2


def test_who_has_gone_is_not_encoded_for():
    seen = []
    open_ = threading.Event()

    def work(items):
        seen.append(list(items))
        open_.wait(10)
        return items

    async def ask():
        batcher = Batcher(work)
        first = asyncio.ensure_future(batcher(["a"]))
        await asyncio.sleep(0.02)
        second = asyncio.ensure_future(batcher(["b"]))
        await asyncio.sleep(0.02)
        second.cancel()
        await asyncio.sleep(0)
        open_.set()
        await first
        batcher.close()

    asyncio.run(ask())
    assert seen == [["a"]]


def test_spaces_of_one_encoder_share_it(monkeypatch):
    loaded = []
    monkeypatch.setattr(encoders, "load", lambda name, *a, **k: loaded.append(name) or served.load(name, *a, **k))
    first = served.colour_space()
    second = Space({m: Map([{"op": "normalise"}], {}, each.fingerprint) for m, each in first.maps.items()})
    encoding = Encoding("cpu")

    async def ask():
        return [await encoding.mapped(space, "text", ["red"]) for space in (first, second)]

    x, y = asyncio.run(ask())
    np.testing.assert_allclose(x, first.encode("text", ["red"]), atol=1e-6)
    np.testing.assert_allclose(y, second.encode("text", ["red"]), atol=1e-6)
    assert loaded[0] == "colours_text" and len(encoding.batchers) == 1
    with pytest.raises(LookupError, match="unknown modality 'smell'"):
        asyncio.run(encoding.mapped(first, "smell", ["a"]))
    encoding.close()
