"""Exact search beside FAISS, the usual numpy form, and the bare matrix product that bounds them all.

    python benchmarks/exact_search.py --out benchmarks/results/exact_search.json

Every round runs all forms one after the other, so that a busy machine slows them alike; the figures are medians
over rounds, and `ratio` is the median of the rounds' seconds divided by those of the bare product. `fastest` is
the best round of each form: on a machine with other work, what comes closest to an idle one. Faiss and numpy bring
a BLAS each in their wheels; `gflops` of the bare product says what numpy's reaches.
"""

import statistics
import time
import tracemalloc

import faiss
import numpy as np
import report

from isthmus.index.exact import GALLERY_BLOCK, QUERY_BLOCK, exact_search


def product(queries, gallery, k):
    """The matrix product alone, in one call for a few queries, else into a block that is written over."""
    if len(queries) * len(gallery) <= QUERY_BLOCK * GALLERY_BLOCK:
        np.matmul(queries, gallery.T)
        return
    out = np.empty((QUERY_BLOCK, GALLERY_BLOCK), np.float32)
    for start in range(0, len(gallery), GALLERY_BLOCK):
        block = gallery[start : start + GALLERY_BLOCK]
        for top in range(0, len(queries), QUERY_BLOCK):
            rows = queries[top : top + QUERY_BLOCK]
            if (len(rows), len(block)) == out.shape:
                np.matmul(rows, block.T, out=out)
            else:
                np.matmul(rows, block.T)


def isthmus(queries, gallery, k):
    return exact_search(queries, gallery, k=k)


def faiss_flat(queries, gallery, k):
    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery)
    started = time.perf_counter()
    result = index.search(queries, k)
    return time.perf_counter() - started, *result  # filling the index is not searching


def numpy_form(queries, gallery, k):
    """Scores, argpartition, sort: what one writes by hand, in blocks of queries that fit in memory."""
    scores, ids = [], []
    for start in range(0, len(queries), 256):
        s = queries[start : start + 256] @ gallery.T
        top = np.argpartition(s, -k, axis=1)[:, -k:]
        best = np.take_along_axis(s, top, axis=1)
        order = np.argsort(-best, axis=1)
        scores.append(np.take_along_axis(best, order, axis=1))
        ids.append(np.take_along_axis(top, order, axis=1))
    return np.concatenate(scores), np.concatenate(ids)


FORMS = {"matrix product": product, "isthmus": isthmus, "faiss.IndexFlatIP": faiss_flat, "numpy": numpy_form}


def search_time(form, *arguments):
    seconds, result = report.timed(lambda: form(*arguments))
    if result is not None and len(result) == 3:
        seconds, *result = result
    return seconds, result


def measure(q, n, d, k, rounds):
    rng = np.random.default_rng(0)
    queries, gallery = (rng.standard_normal((rows, d), dtype=np.float32) for rows in (q, n))
    for x in (queries, gallery):
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    for form in FORMS.values():  # pages, threads and code are warm before the first round
        form(queries[:64], gallery[:5000], k)
    seconds = {name: [] for name in FORMS}
    found = {}
    for _ in range(rounds):
        for name, form in FORMS.items():
            taken, found[name] = search_time(form, queries, gallery, k)
            seconds[name].append(taken)
    tracemalloc.start()
    exact_search(queries, gallery, k=k)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    bare = seconds["matrix product"]
    return {
        "queries": q,
        "gallery": n,
        "dim": d,
        "k": k,
        "rounds": rounds,
        "seconds": {name: round(statistics.median(s), 4) for name, s in seconds.items()},
        "fastest": {name: round(min(s), 4) for name, s in seconds.items()},
        "ratio": {
            name: round(statistics.median(a / b for a, b in zip(s, bare, strict=True)), 3)
            for name, s in seconds.items()
        },
        "gflops": round(2e-9 * q * n * d / statistics.median(bare), 1),
        "same_ids_as_faiss": float((found["isthmus"][1] == found["faiss.IndexFlatIP"][1]).mean()),
        "isthmus_peak_bytes": peak,
    }


def main():
    parser = report.options(__doc__, rounds=5)
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 1000])
    parser.add_argument("--gallery", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("-k", type=int, nargs="+", default=[10])
    options = parser.parse_args()
    found = {
        "runs": [
            # one query takes a moment: more rounds make its median steady
            measure(q, options.gallery, options.dim, k, options.rounds * (4 if q < 100 else 1))
            for q in options.queries
            for k in options.k
        ],
        **report.surroundings("faiss-cpu"),
    }
    report.publish(found, options.out)


if __name__ == "__main__":
    main()
