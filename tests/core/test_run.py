import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from isthmus.core.progress import silent
from isthmus.core.run import Run, cache_dir, seeded


def context(tmp_path, **changes):
    return Run(**({"budget": "smoke", "seed": 3, "out": tmp_path, "cache": tmp_path / "cache"} | changes))


def draw():
    return random.random(), np.random.rand(), float(torch.rand(()))


def test_seeded_decides_and_leaves_no_trace():
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    with seeded(1):
        first = draw()
    with seeded(1):
        again = draw()
    with seeded(2):
        other = draw()
    assert first == again
    assert not set(first) & set(other)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_seeded_puts_back_after_an_error():
    before = random.getstate()
    with pytest.raises(KeyError), seeded(5):
        draw()
        raise KeyError
    assert random.getstate() == before


def test_seeded_takes_any_seed_and_no_torch():
    with seeded(2**32 + 1):
        draw()
    code = "import sys\nfrom isthmus.core.run import seeded\nwith seeded(1): pass\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_randomness_belongs_to_seed_and_name(tmp_path):
    run = context(tmp_path)
    # the first 32 bits of `printf 3:split | sha256sum`; another derivation would silently change every stored row
    assert run.derived("split") == 0xE6C879C0
    assert run.rng("a").random() == run.rng("a").random() != run.rng("b").random()
    assert context(tmp_path, seed=4).derived("split") != run.derived("split")
    same = [torch.rand(2, generator=run.generator("a")).tolist() for _ in range(2)]
    assert same[0] == same[1]


def test_pick(tmp_path):
    assert [context(tmp_path, budget=b).pick(smoke=1, small=2, full=3) for b in ("smoke", "small", "full")] == [1, 2, 3]


def test_cached_is_made_once_for_each_content(tmp_path):
    run, calls = context(tmp_path), []

    def make():
        calls.append(1)
        return {"x": np.arange(3), "names": np.array(["a", "b"])}

    first = run.cached("features", make, encoder="e", size=3)
    again = context(tmp_path, seed=9).cached("features", make, size=3, encoder="e")
    assert len(calls) == 1
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    run.cached("features", make, encoder="e", size=4)
    run.cached("others", make, encoder="e", size=3)
    assert len(calls) == 3


def test_cached_leaves_nothing_half_made(tmp_path):
    def broken():
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        context(tmp_path).cached("features", broken)
    assert not list(tmp_path.rglob("*.npz"))


def test_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("ISTHMUS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "isthmus"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_dir() == tmp_path / "home" / ".cache" / "isthmus"


def test_silence():
    assert silent("stage", 1, None) is None
