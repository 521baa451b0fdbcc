"""An index whose writer is stopped: it is as it was before the change, or as it was to be after it, never between."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from isthmus.core.errors import BadInput, Busy
from isthmus.index.index import Index
from isthmus.store.disk import locked
from tests.stopping import stopped

from .entries import keys, made
from .slow_writer import ROWS, state
from .test_index import queries, space

ROOT = Path(__file__).parents[2]


def states(index):
    return {hit.meta["state"] for hit in index.search(queries(1), k=10_000, exact=True)[0]}


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_kill_minus_nine(tmp_path, backend):
    """Killed at six odd moments of writing: all items are of one state, the last one that was reported or the next."""
    path, log = tmp_path / "index", tmp_path / "log"
    log.touch()
    moments = random.Random(0)
    before = 0
    for _ in range(6):
        work = subprocess.Popen([sys.executable, "-m", "tests.index.slow_writer", path, backend, log], cwd=ROOT)
        started = len(log.read_text().splitlines())
        while len(log.read_text().splitlines()) < started + 2:
            assert work.poll() is None
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.1))
        work.send_signal(signal.SIGKILL)
        work.wait()
        reported = int(log.read_text().split()[-1])
        index = Index.open(path)
        assert index.verify() == {}
        now = len(index) - ROWS
        assert reported <= now <= reported + 1 and now >= before + 2
        assert states(index) == {str(now)}
        before = now
    index.upsert(state(before + 1))
    assert states(index) == {str(before + 1)}
    assert clean(path), "what the kills left is cleaned away"


def clean(path):
    """Say whether a folder holds nothing but what the head names."""
    text = (path / "index.json").read_text()
    return all(p.name in ("index.json", "writer.lock") or f'"{p.name}"' in text for p in path.iterdir())


CHANGES = {
    "add": lambda index: index.add({"image": made(keys(40, 44)), "text": made(keys(40, 43), "text")}),
    "upsert": lambda index: index.upsert({"image": made(keys(0, 3), seed=1)}),
    "remove": lambda index: index.remove(where="year == 1992"),
    "compact": lambda index: index.compact(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_stopped_at_every_step(tmp_path, monkeypatch, change, backend):
    """Stop before each rename, flush and removal of a change: what is there is whole, and the next change goes on."""

    entries = {m: made(keys(0, 20), m) for m in ("image", "text")}
    Index.build(tmp_path / "first", space=space(), entries=entries, backend=backend).remove(["k5|image|"])

    def fresh(path):
        return Index.open(shutil.copytree(tmp_path / "first", path))

    def content(index):
        return {
            name: z.tobytes()
            for m in index.modalities
            for name, z in zip(index.items(m)["id"].to_pylist(), index.vectors(m), strict=True)
        }

    undisturbed = fresh(tmp_path / "undisturbed")
    before = content(undisturbed)
    CHANGES[change](undisturbed)
    after = content(undisturbed)
    seen = []
    for stop in range(200):
        index = fresh(tmp_path / str(stop))
        killed = stopped(monkeypatch, stop, CHANGES[change], index)
        opened = Index.open(index.path)
        assert opened.verify() == {}
        found = content(opened)
        assert found in (before, after)
        seen.append(found == after)
        opened.search(queries(), k=3)
        opened.upsert({"image": made(["k900"])})
        assert len(opened) == len(found) + 1
        assert clean(index.path)
        if not killed:
            break
    assert seen == sorted(seen)
    assert before == after or set(seen) == {False, True}


def test_one_writer_at_a_time(tmp_path):
    index = Index.build(tmp_path / "i", space=space(), entries={"image": made(keys(0, 5))})
    with locked(index.path, kind="an index"), pytest.raises(Busy, match="one writer at a time"):
        index.add({"image": made(["k9"])})
    assert len(Index.open(index.path)) == 5


def test_two_who_opened_it_write_in_turn(tmp_path):
    """Each change starts from what is on disk, not from what its process has seen."""
    first = Index.build(tmp_path / "i", space=space(), entries={"image": made(keys(0, 5))})
    second = Index.open(first.path)
    first.add({"image": made(keys(5, 9))})
    second.add({"image": made(keys(9, 11))})
    assert len(second) == 11 and np.isfinite(second.vectors("image")).all()
    with pytest.raises(BadInput, match="already"):
        first.add({"image": made(["k10"])})
