"""`isthmus embed` stopped half way, by Ctrl-C and by kill -9: the same command completes to the same vectors."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from isthmus.store.store import Store

from .conftest import fill
from .slow_embed import ROWS

ROOT = Path(__file__).parents[2]
ITEMS = 60
BATCH = 4
IN_FLIGHT = ROWS + 2 * BATCH
"""Items that a kill may lose: those of the part that is being filled, and of the batch that is being encoded."""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("stopping") / "pictures", n=ITEMS)


@pytest.fixture(scope="module")
def undisturbed(pictures):
    store = pictures.parent / "undisturbed"
    code, _, err = Embed(pictures, store, seconds=0).finish()
    assert code == 0, err
    return contents(store)


class Embed:
    """An `embed` at work."""

    def __init__(self, pictures, store, seconds):
        self.store, self.log = store, store.with_suffix(".log")
        self.log.touch()
        command = ["embed", pictures, "--out", store, "--batch-size", BATCH]
        command += ["--encoder", "image=by_colour_image", "--encoder", "text=by_colour_text"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.slow_embed", self.log, str(seconds), *map(str, command)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def encoded(self):
        return len(self.log.read_text().splitlines())

    def wait_for(self, items):
        """Wait until so many items are encoded (over all runs), or the work is done."""
        while self.encoded < items and self.process.poll() is None:
            time.sleep(0.002)

    def stop(self, number):
        self.process.send_signal(number)
        return self.finish()

    def finish(self):
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def rows(store):
    """Count what the manifest of a store holds; 0 before there is one."""
    manifest = store / "manifest.json"
    return sum(part["rows"] for part in json.loads(manifest.read_text())["parts"]) if manifest.exists() else 0


def contents(path):
    """{id: vector} of everything in a store, after reading every byte."""
    store = Store.open(path)
    assert store.verify() == {}
    found = {}
    for modality in store.modalities():
        vectors = store.vectors(modality)
        assert len(set(vectors.ids)) == len(vectors), "no row twice"
        found |= dict(zip(vectors.ids.tolist(), vectors.x, strict=True))
    return found


def assert_same(path, expected):
    found = contents(path)
    assert set(found) == set(expected)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_kill_minus_nine(pictures, undisturbed, tmp_path):
    """Four kills at odd moments: after each the store is whole, and only the part in flight is encoded again."""
    store, kept, kills = tmp_path / "store", 0, 0
    moments = random.Random(0)
    for _ in range(4):
        work = Embed(pictures, store, seconds=0.02)
        work.wait_for(work.encoded + moments.randint(ROWS, 2 * ROWS))
        time.sleep(moments.uniform(0, 0.1))  # anywhere in a batch, a part, or the change of the manifest
        code, out, _ = work.stop(signal.SIGKILL)
        assert (code, out) == (-signal.SIGKILL, "")
        kills += 1
        assert kept <= rows(store), "a part that was there stays"
        kept = rows(store)
        assert work.encoded - kept <= kills * IN_FLIGHT
        assert set(contents(store)) <= set(undisturbed)
    assert 0 < kept < 2 * ITEMS, "the kills came while it worked"
    work = Embed(pictures, store, seconds=0)
    code, out, err = work.finish()
    assert (code, out) == (0, ""), err
    assert_same(store, undisturbed)
    assert work.encoded <= 2 * ITEMS + kills * IN_FLIGHT, "what was kept is not encoded again"
    left = {path.name for path in store.iterdir()} - {part["file"] for part in Store.open(store).parts}
    assert left <= {"manifest.json", "writer.lock", "rejected.parquet"}, "what the kills left is cleaned away"


def test_ctrl_c(pictures, undisturbed, tmp_path):
    """One line that says how to go on, exit code 1, and everything encoded but the batch at hand is kept."""
    store = tmp_path / "store"
    work = Embed(pictures, store, seconds=0.02)
    work.wait_for(ITEMS // 2)
    code, out, err = work.stop(signal.SIGINT)
    assert (code, out) == (1, "")
    *_, last = err.splitlines()
    assert last == "isthmus: stopped; what was written is whole, and the same command goes on from it"
    assert "Traceback" not in err
    assert 0 < work.encoded - 2 * BATCH <= rows(store) < 2 * ITEMS
    work = Embed(pictures, store, seconds=0)
    assert work.finish()[0] == 0
    assert_same(store, undisturbed)
    assert work.encoded <= 2 * ITEMS + 2 * BATCH


def test_a_second_writer_is_told_to_wait(pictures, tmp_path):
    store = tmp_path / "store"
    first = Embed(pictures, store, seconds=0.05)
    first.wait_for(2)
    second = Embed(pictures, store, seconds=0)
    code, out, err = second.finish()
    assert (code, out) == (2, "")
    assert f"process {first.process.pid}" in err and "one writer at a time" in err
    first.stop(signal.SIGKILL)


def test_a_reader_that_has_seen_enough():
    """`isthmus methods --json | head` ends without a word when nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", "from isthmus.cli import main; main()", "methods", "--json"]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, env=buffered, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
