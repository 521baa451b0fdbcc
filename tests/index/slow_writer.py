"""A process that changes an index again and again, to be killed: change number s leaves 300 + s items, all of state s.

python -m tests.index.slow_writer PATH BACKEND LOG
"""

import itertools
import sys
from pathlib import Path

import numpy as np

from isthmus.index.index import Index
from isthmus.store.rows import Vectors
from tests.store.rows import fingerprint

from .test_index import WIDTHS, space

ROWS = 300


def state(s):
    of = fingerprint(WIDTHS["image"], modality="image")
    n = ROWS + s
    x = np.random.default_rng(s).standard_normal((n, of.dim))
    return {"image": Vectors.of(x, of, keys=[f"k{i}" for i in range(n)], meta=[{"state": str(s)}] * n)}


if __name__ == "__main__":
    path, backend, log = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    if (path / "index.json").exists():
        index = Index.open(path)
    else:
        index = Index.build(path, space=space(), entries=state(0), backend=backend)
    for s in itertools.count(len(index) - ROWS + 1):
        if s % 4 == 3:
            index.compact()
        index.upsert(state(s))
        with log.open("a") as file:
            file.write(f"{s}\n")
