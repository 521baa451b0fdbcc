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
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from isthmus.core.errors import BadInput
from isthmus.core.run import seeded
from isthmus.parts.kept import CHECKPOINT, LOG, SETTINGS, Kept, read_log
from isthmus.parts.train import Minibatches, train

ROOT = Path(__file__).parents[2]
STEPS = 12


def fit(folder, *, stop=None, wait=0.0, width=6, identity=None, **how):
    """Train a net with dropout, whose batches and noise come from every kind of generator."""
    with seeded(0):
        net = nn.Sequential(nn.Linear(4, width), nn.Dropout(0.3), nn.Linear(width, 1))
        x = torch.randn(20, 4)
        batches = Minibatches(20, 5, STEPS // 4, torch.Generator().manual_seed(1))

        def step(rows):
            time.sleep(wait)
            noise = random.random() + np.random.rand()
            return {"loss": ((net(x[rows]) - x[rows].sum(1, keepdim=True)) ** 2).mean() * (1 + noise)}

        keep = Kept(folder, net, identity=identity or {"lr": 0.01}, every=2, **how)
        history = train(
            step,
            net.parameters(),
            batches,
            lr=0.01,
            keep=keep,
            stop=None if stop is None else lambda done: done == stop,
        )
    return {name: x.clone() for name, x in net.state_dict().items()}, history


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_goes_on_to_the_same_weights(tmp_path):
    whole, history = fit(tmp_path / "whole")
    fit(tmp_path / "parts", stop=5)  # the checkpoint is of step 4
    assert [row["step"] for row in read_log(tmp_path / "parts" / LOG)] == [1, 2, 3, 4, 5]
    weights, rest = fit(tmp_path / "parts")
    assert same(weights, whole) and rest == history[4:]
    assert not same(weights, fit(tmp_path / "other", stop=5)[0])
    logs = [read_log(tmp_path / name / LOG) for name in ("whole", "parts")]
    timed = ("seconds", "processor_seconds")
    plain = [[{k: v for k, v in row.items() if k not in timed} for row in log] for log in logs]
    assert plain[0] == plain[1] and len(plain[0]) == STEPS and {"step", "loss", "lr"} == set(plain[0][0])
    assert all(a["seconds"] <= b["seconds"] for a, b in zip(logs[1], logs[1][1:], strict=False))
    assert json.loads((tmp_path / "parts" / SETTINGS).read_text())["lr"] == 0.01
    assert fit(tmp_path / "parts")[1] == [], "a finished training is left as it is"


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_kill_minus_nine(tmp_path):
    """Three kills at odd moments; what comes out is equal to the bit to what comes out undisturbed."""
    whole, _ = fit(tmp_path / "whole")
    folder = tmp_path / "killed"
    code = f"from tests.parts.test_kept import fit; fit({str(folder)!r}, wait=0.03)"
    killed = 0
    for wanted in (2, 6, 8):
        work = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
        while work.poll() is None:
            log = folder / LOG
            if (folder / CHECKPOINT).exists() and log.exists() and len(read_log(log)) >= wanted:
                break
            time.sleep(0.002)
        work.send_signal(signal.SIGKILL)
        killed += work.wait() == -signal.SIGKILL
        assert (folder / CHECKPOINT).exists() and 0 < len(read_log(folder / LOG)) < STEPS
    assert killed == 3
    weights, history = fit(folder)
    assert same(weights, whole) and 0 < len(history) < STEPS
    assert {path.name for path in folder.iterdir()} == {CHECKPOINT, LOG, SETTINGS}


def test_tensorboard(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    fit(tmp_path, stop=5, tensorboard=True)
    fit(tmp_path, tensorboard=True)
    board = events.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    shown, logged = board.Scalars("loss"), read_log(tmp_path / LOG)
    assert [s.step for s in shown] == [row["step"] for row in logged] == list(range(1, STEPS + 1))
    assert np.allclose([s.value for s in shown], [row["loss"] for row in logged])


def test_bfloat16(tmp_path):
    w = nn.Parameter(torch.zeros(8, 1))
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    kinds = []

    def step(_):
        y = x @ w
        kinds.append(y.dtype)
        return {"loss": ((y.float() - x.sum(1, keepdim=True)) ** 2).mean()}

    history = train(step, [w], range(60), lr=0.1, precision="bfloat16")
    assert set(kinds) == {torch.bfloat16} and w.dtype == torch.float32
    assert history[-1]["loss"] < 0.1 < history[0]["loss"]


def test_errors(tmp_path):
    fit(tmp_path, stop=4)
    with pytest.raises(BadInput, match=r"holds another training: lr is 0.01 there and 0.1 here.*--fresh"):
        fit(tmp_path, identity={"lr": 0.1})
    with pytest.raises(BadInput, match=r"another architecture: 0.weight is \(6, 4\) there and \(7, 4\) here"):
        fit(tmp_path, width=7)
    file = tmp_path / CHECKPOINT
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(BadInput, match=r"checkpoint.safetensors cannot be read as a checkpoint.*remove it"):
        fit(tmp_path)
    save_file({"x": torch.zeros(2)}, file)
    assert load_file(file)
    with pytest.raises(BadInput, match="no checkpoint of a training"):
        fit(tmp_path)
    with pytest.raises(BadInput, match="every = 0"):
        Kept(tmp_path, nn.Linear(1, 1), identity={}, every=0)
