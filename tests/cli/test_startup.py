"""What starting costs: nothing heavy is imported before it is needed, and torch only for encoding and training."""

import json
import os
import subprocess
import sys
import time

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
    best = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        best = min(best, time.perf_counter() - start)
    return best


def test_help_comes_at_once():
    # the bar is 0.5 s; on a machine with more work than cores the wall clock says nothing about us
    busy = os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else 0
    allowed = 0.5 * max(1.0, busy)
    command = [sys.executable, "-c", "from isthmus.cli import main; main()", "--help"]
    assert quickest(command) <= allowed
