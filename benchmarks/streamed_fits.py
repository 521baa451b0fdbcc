"""Closed-form maps fitted from a stream of rows, beside the matrix products that bound them.

    python benchmarks/streamed_fits.py --out benchmarks/results/streamed_fits.json

Blocks of rows are made once and given again and again, as a reader would: making them is not timed. The bare form
multiplies the same blocks, XᵀX, XᵀY and YᵀY, and adds the products up in float64. Every round runs all forms one after
the other; `ratio` is the median of the rounds' seconds divided by those of the bare products of the same tables.
`peak_bytes` is what a fit takes beside the blocks, at a tenth of the rows and at all of them.
"""

import statistics
import tracemalloc

import numpy as np
import report

from isthmus.parts.linear import CanonicalDirections, LeastSquares, Procrustes
from isthmus.parts.linear.moments import TABLES

BLOCK = 4096
FORMS = {
    "cca": (lambda rows: CanonicalDirections(ridge=0.01).fit_rows(rows), TABLES),
    "ridge": (lambda rows: LeastSquares(ridge=0.01).fit_rows(rows), ("xx", "xy")),
    "procrustes": (lambda rows: Procrustes().fit_rows(rows), ("xy",)),
}


def stream(blocks, rows):
    """Yield `rows` rows of blocks that are given again and again."""
    for start in range(0, rows, BLOCK):
        x, y = blocks[start // BLOCK % len(blocks)]
        yield x[: rows - start], y[: rows - start]


def products(rows, tables):
    """The products alone, added up."""
    total = {}
    for x, y in rows:
        sides = {"x": x, "y": y}
        for name in tables:
            product = sides[name[0]].T @ sides[name[1]]
            total[name] = (
                product.astype(np.float64) if name not in total else np.add(total[name], product, out=total[name])
            )
    return total


def peak(fit, blocks, rows):
    tracemalloc.start()
    fit(stream(blocks, rows))
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return taken


def main():
    parser = report.options(__doc__, rounds=3)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((options.dim, options.dim), dtype=np.float32) / options.dim**0.5
    blocks = []
    for _ in range(8):
        x = rng.standard_normal((BLOCK, options.dim), dtype=np.float32)
        blocks.append((x, x @ mix + rng.standard_normal(x.shape, dtype=np.float32)))
    runs = []
    for name, (fit, tables) in FORMS.items():
        seconds = {"fit": [], "products": []}
        for _ in range(options.rounds):
            seconds["fit"].append(report.timed(lambda fit=fit: fit(stream(blocks, options.rows)))[0])
            seconds["products"].append(report.timed(lambda t=tables: products(stream(blocks, options.rows), t))[0])
        ratio = statistics.median(a / b for a, b in zip(seconds["fit"], seconds["products"], strict=True))
        runs.append(
            {
                "map": name,
                "rows": options.rows,
                "dim": options.dim,
                "seconds": {form: round(statistics.median(s), 2) for form, s in seconds.items()},
                "ratio": round(ratio, 3),
                "peak_bytes": {str(n): peak(fit, blocks, n) for n in (options.rows // 10, options.rows)},
            }
        )
    report.publish({"runs": runs, **report.surroundings("scipy")}, options.out)


if __name__ == "__main__":
    main()
