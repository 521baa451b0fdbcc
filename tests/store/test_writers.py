"""One writer at a time, and a writer that may be killed at any moment."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.store import disk
from isthmus.store.disk import LOCK
from isthmus.store.store import Store
from tests.store.rows import fingerprint, items, vectors_of

ROOT = Path(__file__).parents[2]
ROWS = items(240)

WRITER = """
import sys, time
from isthmus.store.store import Store
from tests.store.rows import fingerprint, items, vectors_of
store = Store.open_or_create(sys.argv[1], source={"name": "kill"})
with store.writer(fingerprint(), rows_per_part=5) as writer:
    missing = [row for row in items(240) if not writer.has(row.id, row.digest())]
    print("start", 240 - len(missing), flush=True)
    for start in range(0, len(missing), 3):
        rows = missing[start : start + 3]
        if start == 30:
            writer.reject(items(1, start=999)[0], "odd")
        writer.add(rows, vectors_of(rows))
        print("added", flush=True)
        time.sleep(0.003)  # an encoder at work: no life of this process does it all
"""

HOLDER = """
import sys, time
from isthmus.store.store import Store
from tests.store.rows import fingerprint
with Store.open(sys.argv[1]).writer(fingerprint()):
    print("ready", flush=True)
    time.sleep(600)
"""


def run(code, path):
    return subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_killed_again_and_again(tmp_path):
    """Kill -9 at random moments: nothing committed is lost, and the run that is let through completes it all."""
    path = tmp_path / "s"
    rng = random.Random(0)
    kept, kills = 0, 0
    while kills < 8:
        process = run(WRITER, path)
        with process:
            line = process.stdout.readline()
            assert line.startswith("start"), line
            assert int(line.split()[1]) >= kept  # what was there at the last look is still there
            for _ in range(rng.randrange(7)):
                process.stdout.readline()
            time.sleep(rng.uniform(0, 0.006))  # anywhere within the next write
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        kills += 1
        stored = Store.open(path)
        if stored.modalities():
            got = stored.vectors("text")
            assert got.keys.tolist() == [r.key for r in ROWS[: len(got)]]
            np.testing.assert_array_equal(got.x, vectors_of(ROWS[: len(got)]))
            kept = len(got)
    assert 0 < kept < len(ROWS)
    with run(WRITER, path) as process:
        process.stdout.read()
    assert process.returncode == 0
    store = Store.open(path)
    got = store.vectors("text")
    assert got.keys.tolist() == [r.key for r in ROWS]
    np.testing.assert_array_equal(got.x, vectors_of(ROWS))
    assert store.verify() == {}
    assert sorted(p.name for p in path.glob("part-*")) == sorted(p["file"] for p in store.parts)
    assert not list(path.glob(".*.tmp"))


def test_killed_between_any_two_steps(tmp_path, monkeypatch):
    """The exact version of the above: stop at every rename and every fsync of a session in turn."""

    class Killed(BaseException):
        pass

    rows, steps = ROWS[:12], 0
    for stop in range(1000):
        path = tmp_path / f"s{stop}"
        count = 0

        def tick(call, *arguments, stop=stop):
            nonlocal count
            if count == stop:
                raise Killed  # and every later step too: a dead process cleans nothing up
            count += 1
            return call(*arguments)

        replace_, sync, unlink = Path.replace, os.fsync, Path.unlink
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", lambda self, to, t=tick, call=replace_: t(call, self, to))
            patch.setattr(os, "fsync", lambda fd, t=tick, call=sync: t(call, fd))
            patch.setattr(Path, "unlink", lambda self, missing_ok=False, t=tick, call=unlink: t(call, self, missing_ok))
            try:
                store = Store.open_or_create(path, source={})
                with store.writer(fingerprint(), rows_per_part=4) as writer:
                    writer.reject(ROWS[50], "odd")
                    for start in range(0, 12, 3):
                        writer.add(rows[start : start + 3], vectors_of(rows[start : start + 3]))
                killed = False
            except Killed:
                killed = True
        store = Store.open_or_create(path, source={})
        if store.modalities():
            got = store.vectors("text")
            np.testing.assert_array_equal(got.x, vectors_of(rows[: len(got)]))
        with store.writer(fingerprint(), rows_per_part=4) as writer:
            missing = [row for row in rows if not writer.has(row.id, row.digest())]
            assert killed or not missing
            writer.add(missing, vectors_of(missing))
        got = Store.open(path).vectors("text")
        assert got.keys.tolist() == [r.key for r in rows]
        np.testing.assert_array_equal(got.x, vectors_of(rows))
        if not killed:
            break
        steps += 1
    assert steps > 15
    assert store.rejected()["reason"].to_pylist() == ["odd"]


def test_a_live_writer_refuses_others(tmp_path):
    path = tmp_path / "s"
    store = Store.create(path, source={})
    with run(HOLDER, path) as process:
        assert process.stdout.readline() == "ready\n"
        for attempt in (store.writer(fingerprint()).__enter__, lambda: store.set_aside({}), store.repair):
            with pytest.raises(BadInput, match=rf"one writer at a time, and process {process.pid} on"):
                attempt()
        assert Store.open(path).status()["parts"] == 0  # reading goes on
        process.kill()
    assert (path / LOCK).read_text().startswith(str(process.pid))  # left by the dead, and taken over
    with store.writer(fingerprint()) as writer:
        assert (path / LOCK).read_text().startswith(str(os.getpid()))
        writer.add(ROWS[:2], vectors_of(ROWS[:2]))
    assert len(Store.open(path).vectors("text")) == 2
    assert (path / LOCK).read_text() == ""


def test_one_process_has_one_writer(tmp_path):
    store = Store.create(tmp_path / "s", source={})
    with store.writer(fingerprint()):
        with pytest.raises(BadInput, match=f"process {os.getpid()}"), Store.open(store.path).writer(fingerprint()):
            pass
        with pytest.raises(BadInput, match="one writer at a time"):
            store.set_aside({"a": "b"})
    with store.writer(fingerprint()):
        pass


@pytest.mark.parametrize(
    ("owner", "free"),
    [
        ("", True),
        ("nonsense", True),
        ("999999999 on here", True),
        ("{pid} on here", False),
        ("1 on another-machine", False),
    ],
)
def test_where_files_cannot_be_locked_the_pid_decides(tmp_path, monkeypatch, owner, free):
    store = Store.create(tmp_path / "s", source={})
    monkeypatch.setattr(disk, "_take", lambda descriptor: None)
    text = owner.replace("here", socket.gethostname()).format(pid=os.getpid())
    (store.path / LOCK).write_text(text)
    if free:
        with store.writer(fingerprint()):
            assert (store.path / LOCK).read_text().startswith(f"{os.getpid()} on")
    else:
        with pytest.raises(BadInput, match=text), store.writer(fingerprint()):
            pass


def test_a_full_disk_loses_nothing_that_was_there(tmp_path, monkeypatch):
    store = Store.create(tmp_path / "s", source={})
    with store.writer(fingerprint()) as writer:
        writer.add(ROWS[:3], vectors_of(ROWS[:3]))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"), store.writer(fingerprint()) as writer:
            writer.add(ROWS[3:6], vectors_of(ROWS[3:6]))
    assert not list(store.path.glob(".*.tmp"))
    with store.writer(fingerprint()) as writer:
        assert not writer.has(ROWS[3].id, ROWS[3].digest())
        writer.add(ROWS[3:6], vectors_of(ROWS[3:6]))
    np.testing.assert_array_equal(Store.open(store.path).vectors("text").x, vectors_of(ROWS[:6]))
