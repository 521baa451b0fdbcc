"""Search with hubs taken out beside plain search of the same vectors: the bias is one more dimension.

    python benchmarks/corrected_search.py --out benchmarks/results/corrected_search.json

Every round searches plain and corrected, one after the other and in turns first, so that other work on the machine
slows both alike; `ratio` is the median over rounds of corrected over plain seconds. `bias_seconds` is what it takes
once to compute the biases of the whole gallery by DualIS, with two banks of `bank` entries; the peak of memory is
measured on a tenth of the gallery.
"""

import statistics
import tracemalloc

import numpy as np
import report
from report import timed

from isthmus.index.exact import exact_search
from isthmus.methods.scoring.dbnorm import DualIS


def unit(rng, rows, d):
    x = rng.standard_normal((rows, d), dtype=np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def measure(q, n, d, k, rounds, bank):
    rng = np.random.default_rng(0)
    queries, gallery, words, items = (unit(rng, rows, d) for rows in (q, n, bank, bank))
    fitted = DualIS().fit(words, items)
    bias_seconds, bias = timed(lambda: fitted.bias(gallery))
    longer = np.column_stack([gallery, bias.mean() - bias])
    asked = np.column_stack([queries, np.ones(q, np.float32)])
    forms = {"plain": (queries, gallery), "corrected": (asked, longer)}
    seconds = {name: [] for name in forms}
    for name in forms:
        exact_search(forms[name][0][:64], forms[name][1][:5000], k=k)
    for number in range(rounds):
        for name in sorted(forms, reverse=bool(number % 2)):
            seconds[name].append(timed(lambda name=name: exact_search(*forms[name], k=k))[0])
    tracemalloc.start()
    fitted.bias(gallery[: n // 10])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    pairs = zip(seconds["corrected"], seconds["plain"], strict=True)
    return {
        "queries": q,
        "gallery": n,
        "dim": d,
        "k": k,
        "rounds": rounds,
        "bank": bank,
        "seconds": {name: round(statistics.median(s), 4) for name, s in seconds.items()},
        "fastest": {name: round(min(s), 4) for name, s in seconds.items()},
        "ratio": round(statistics.median(a / b for a, b in pairs), 3),
        "bias_seconds": round(bias_seconds, 2),
        "bias_peak_bytes_of_a_tenth": peak,
    }


def main():
    parser = report.options(__doc__, rounds=9)
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 1000])
    parser.add_argument("--gallery", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--bank", type=int, default=2_000)
    options = parser.parse_args()
    found = {
        "runs": [
            measure(
                q,
                options.gallery,
                options.dim,
                options.k,
                options.rounds * (4 if q < 100 else 1),  # one query takes a moment: more rounds make its median steady
                options.bank,
            )
            for q in options.queries
        ],
        **report.surroundings(),
    }
    report.publish(found, options.out)


if __name__ == "__main__":
    main()
