"""What starting costs: nothing heavy is imported before it is needed, and torch only for encoding and training."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = ["torch", "pyarrow", "faiss", "scipy", "plotly"]
RUN = "import contextlib\nfrom isthmus.cli import main\nwith contextlib.suppress(SystemExit): "
LISTED = "; import json, sys; print(json.dumps([m for m in %s if m in sys.modules]))"


def fresh(code, heavy=HEAVY):
    """Return which heavy modules a fresh interpreter has loaded after some code."""
    done = subprocess.run([sys.executable, "-c", code + LISTED % heavy], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "code",
    [
        "import isthmus",
        "import isthmus.cli",
        RUN + "main(['--help'])\n0",
        RUN + "main(['methods'])\n0",
        RUN + "main(['embed', '-h'])\n0",
    ],
    ids=["isthmus", "isthmus.cli", "--help", "methods", "embed --help"],
)
def test_nothing_heavy_is_imported(code):
    assert fresh(code) == []


@pytest.mark.parametrize(
    "code",
    [
        "isthmus.build_index(store, space=space, out=out)",
        "[isthmus.Index.open(index).search(space.transform('text', store.vectors('text').x), k=3)]",
        "isthmus.evaluate(store, space=space, out=out)",
        "isthmus.diagnose(store, space=space)",
        "main(['index', paths[0], '--space', paths[1], '--out', out])",
        "main(['evaluate', paths[0], '--space', paths[1]])",
        "main(['diagnose', paths[0], '--space', paths[1]])",
    ],
    ids=["index", "search", "evaluate", "diagnose", "isthmus index", "isthmus evaluate", "isthmus diagnose"],
)
def test_stored_vectors_need_no_torch(code, made, tmp_path):
    paths = [str(made.store), str(made.space), str(made.index)]
    before = (
        f"import isthmus\npaths, out = {paths!r}, {str(tmp_path / 'out')!r}\n"
        "store, space, index = isthmus.Store.open(paths[0]), isthmus.Space.load(paths[1]), paths[2]\n"
    )
    assert fresh(f"{before}{RUN}{code}\n0", ["torch"]) == []


def quickest(command, runs=5):
    """Seconds of the processor that a command takes; waiting for other programs says nothing about it."""
    best = float("inf")
    for _ in range(runs):
        before = os.times()
        subprocess.run(command, capture_output=True, check=True)
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        best = min(best, used)
    return best


def test_help_comes_at_once():
    command = [sys.executable, "-c", "from isthmus.cli import main; main()", "--help"]
    assert quickest(command) <= 0.5
