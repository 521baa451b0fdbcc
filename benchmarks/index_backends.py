"""Where a graph beats exact search, what it costs to build, and how long an index of a million takes to open.

    python benchmarks/index_backends.py --out benchmarks/results/index_backends.json

For every size one index is built with usearch, and searched through it and exactly (`search(…, exact=True)`), in turns,
so that a busy machine slows both alike; seconds are medians over rounds and hold all that a search does, items too.
`recall` is the share of the exact 10 best that the graph gives. `crossover` is the smallest size from which on the
graph is at least twice as fast for a single query at a recall of 0.99: `isthmus.index.backends.MANY` is chosen by it,
larger because a graph has to be built first. Vectors are of 256 numbers: 2,000 clusters in 32 dimensions, turned into
256 with noise, which is how the vectors of encoders lie; queries are drawn like items.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import report
from report import timed

from isthmus.index.index import Index
from isthmus.space import Map, Space
from isthmus.store.fingerprint import Fingerprint
from isthmus.store.rows import Vectors

DIM = 256
FINGERPRINT = Fingerprint(
    encoder="drawn", modality="image", dim=DIM, weights="0" * 64, preprocess="none", pooling="none", normalised=True
)
OPENING = """
import sys, time
import isthmus.index.index
from isthmus.index.index import Index
started = time.perf_counter()
index = Index.open(sys.argv[1])
print(time.perf_counter() - started, len(index))
"""


def drawn(n, seed):
    rng = np.random.default_rng(0)
    centres, turn = rng.standard_normal((2000, 32)), rng.standard_normal((32, DIM)).astype(np.float32)
    rng = np.random.default_rng([1, seed])
    low = (centres[rng.integers(0, len(centres), n)] + 0.5 * rng.standard_normal((n, 32))).astype(np.float32)
    x = low @ turn + rng.standard_normal((n, DIM), dtype=np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def built(folder, n, backend):
    vectors = Vectors.of(
        drawn(n, 0),
        FINGERPRINT,
        keys=[f"k{i}" for i in range(n)],
        uris=[f"file:{i}.png" for i in range(n)],
        meta=[{"kind": f"kind {i % 50}", "year": str(1950 + i % 75)} for i in range(n)],
    )
    space = Space({"image": Map([], {}, FINGERPRINT)})
    return timed(lambda: Index.build(folder, space=space, entries={"image": vectors}, backend=backend))


def measure(n, rounds):
    with tempfile.TemporaryDirectory() as folder:
        plain, _ = built(Path(folder) / "exact", n, "exact")
        seconds, index = built(Path(folder) / "usearch", n, "usearch")
        (graph,) = index.status()["graphs"]["image"]
        queries = drawn(1000, 1)
        exact = index.search(queries, exact=True)
        near = index.search(queries)
        hits = [({h.id for h in a}, {h.id for h in b}) for a, b in zip(exact, near, strict=True)]
        ways = {
            "exact": lambda q: index.search(q, exact=True),
            "usearch": lambda q: index.search(q),
            "filter 2 %": lambda q: index.search(q, where="kind == 'kind 7'"),
            "filter 50 %": lambda q: index.search(q, where="year < 1987"),
        }
        taken = {name: {1: [], 100: []} for name in ways}
        for way in ways.values():
            way(queries[:2])  # items and fields are read at the first search
        for r in range(rounds):
            for size, of in ((1, queries[r : r + 1]), (100, queries[100:200])):
                for name, way in ways.items():
                    taken[name][size].append(timed(lambda way=way, of=of: way(of))[0])
        return {
            "items": n,
            "build_seconds": {"exact": round(plain, 2), "usearch": round(seconds, 2)},
            "effort": graph["effort"],
            "recall_at_build": graph["recall"],
            "recall": round(float(np.mean([len(a & b) / len(a) for a, b in hits])), 4),
            "bytes": {k: sum(p.stat().st_size for p in index.path.glob(f"*.{k}")) for k in ("npy", "graph", "parquet")},
            "milliseconds_1": {name: round(1e3 * statistics.median(s[1]), 3) for name, s in taken.items()},
            "milliseconds_100": {name: round(1e3 * statistics.median(s[100]), 2) for name, s in taken.items()},
        }


def opening(n, backend, runs=5):
    """Seconds of `Index.open` in fresh processes, its files in the cache of the system."""
    with tempfile.TemporaryDirectory() as folder:
        seconds, _ = built(Path(folder) / "i", n, backend)
        done = [
            subprocess.run([sys.executable, "-c", OPENING, f"{folder}/i"], capture_output=True, text=True, check=True)
            for _ in range(runs)
        ]
        first, _ = timed(lambda: Index.open(f"{folder}/i").search(drawn(1, 2)))
        opened = [float(d.stdout.split()[0]) for d in done]
        return {
            "items": n,
            "dim": DIM,
            "backend": backend,
            "seconds": round(statistics.median(opened), 4),
            "slowest": round(max(opened), 4),
            "first_search_seconds": round(first, 3),
            "build_seconds": round(seconds, 1),
        }


def main():
    parser = report.options(__doc__, rounds=15)
    parser.add_argument("--items", type=int, nargs="+", default=[1000, 3000, 10_000, 30_000, 100_000, 300_000])
    parser.add_argument("--open", type=int, default=1_000_000, help="items of the index that is opened")
    options = parser.parse_args()
    found = {"runs": []}
    for n in options.items:
        found["runs"].append(measure(n, options.rounds))
        print(json.dumps(found["runs"][-1]), flush=True)
    ahead = [
        r["items"]
        for r in found["runs"]
        if r["recall"] >= 0.99 and 2 * r["milliseconds_1"]["usearch"] <= r["milliseconds_1"]["exact"]
    ]
    found["crossover"] = min(ahead, default=None)
    found["opening"] = [opening(options.open, backend) for backend in ("exact", "usearch")] if options.open else []
    found |= {
        "dim": DIM,
        **report.surroundings("usearch"),
    }
    report.publish(found, options.out)


if __name__ == "__main__":
    main()
