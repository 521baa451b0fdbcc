"""The tiled contrastive loss beside its bare matrix products, open_clip's ClipLoss and its own dense form.

    OMP_NUM_THREADS=2 python benchmarks/contrast.py --out benchmarks/results/contrast.json

Forward and backward of unit vectors (batch, dim) at scale 1 / 0.07. Every round runs all forms one after the other, so
that a busy machine slows them alike; `seconds` are medians over rounds, `over_products` the median of the rounds'
seconds divided by those of the four matrix products that the tiled form needs, in the same tiles, and `over_peer`
likewise by those of ClipLoss. `fastest_ratio` divides the best rounds: on a machine with other work, what comes closest
to an idle one. `extra_gb` is the peak of resident memory, each form in a process of its own, less that before the loss.
`errors` are of the loss and, relative to the largest entry, of the gradient, against double precision, for the dense
single precision form too: `random` vectors, and `learned` ones, pairs that are alike at scale 100 so that the loss is
near 0 and not 0. The late interaction of tokens is measured beside the products that it needs likewise.
"""

import importlib
import json
import statistics
import subprocess
import sys
from pathlib import Path

import report
import torch
from report import timed
from torch.nn.functional import normalize

from isthmus.parts.contrast import info_nce

engine = importlib.import_module("isthmus.parts.contrast.info_nce")
TILE = engine.TILE["cpu"]


def draw(batch, dim, *, seed=0):
    x = torch.randn(batch, dim, generator=torch.Generator().manual_seed(seed))
    return normalize(x, dim=1).requires_grad_()


def products(a, b, scale):
    """Scores once forward, once backward, and the two products of the gradient, in the tiles of the loss."""
    x, y = a.detach(), b.detach()
    into_a, into_b = torch.zeros_like(x), torch.zeros_like(y)
    height, width = TILE
    buffer = torch.empty(height * width)
    for backward in (False, True):
        for i in range(0, len(x), height):
            for j in range(0, len(y), width):
                rows, columns = x[i : i + height], y[j : j + width]
                out = buffer[: len(rows) * len(columns)].view(len(rows), len(columns))
                torch.mm(rows, columns.T, out=out)
                if backward:
                    into_a[i : i + height].addmm_(out, columns)
                    into_b[j : j + width].addmm_(out.T, rows)


def tiled(a, b, scale):
    info_nce(a, b, scale=scale, tile=None).backward()


def dense(a, b, scale):
    info_nce_dense(a, b, scale).backward()


def info_nce_dense(a, b, scale):
    before, engine.DENSE = engine.DENSE, len(a) * len(b)
    try:
        return info_nce(a, b, scale=scale)
    finally:
        engine.DENSE = before


def peer(a, b, scale):
    from open_clip.loss import ClipLoss

    ClipLoss()(a, b, scale).backward()


FORMS = {"products": products, "tiled": tiled, "dense": dense, "ClipLoss": peer}


def forms_for(batch, most):
    """Leave out forms that keep all scores where they are too many: half the batch for the dense form."""
    limits = {"dense": most // 2, "ClipLoss": most}
    return {name: form for name, form in FORMS.items() if batch <= limits.get(name, batch)}


def measure(batch, dim, rounds, most):
    a, b = draw(batch, dim), draw(batch, dim, seed=1)
    scale = torch.tensor(1 / 0.07, requires_grad=True)
    forms = forms_for(batch, most)
    small = [x.detach()[:600].requires_grad_() for x in (a, b)]
    for form in forms.values():  # pages, threads and code are warm before the first round
        form(*small, scale)
    seconds = {name: [] for name in forms}
    for _ in range(rounds):
        for name, form in forms.items():
            seconds[name].append(timed(lambda form=form: form(a, b, scale))[0])
            a.grad = b.grad = scale.grad = None

    def ratio(base):
        return round(statistics.median(x / y for x, y in zip(seconds["tiled"], seconds[base], strict=True)), 3)

    found = {
        "batch": batch,
        "dim": dim,
        "rounds": rounds,
        "seconds": {name: round(statistics.median(s), 3) for name, s in seconds.items()},
        "over_products": ratio("products"),
        "fastest_ratio": round(min(seconds["tiled"]) / min(seconds["products"]), 3),
        "gflops": round(8e-9 * batch * batch * dim / statistics.median(seconds["products"]), 1),
        "extra_gb": {name: extra_memory(name, batch, dim) for name in forms if name != "products"},
    }
    return found | ({"over_peer": ratio("ClipLoss")} if "ClipLoss" in forms else {})


def extra_memory(name, batch, dim):
    """Return the peak memory that one form adds, in a process of its own."""
    command = [sys.executable, __file__, "--only", name, "--batch", str(batch), "--dim", str(dim)]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def only(name, batch, dim):
    a, b = draw(batch, dim), draw(batch, dim, seed=1)
    scale = torch.tensor(1 / 0.07, requires_grad=True)
    FORMS[name](*(x.detach()[:600].requires_grad_() for x in (a, b)), scale)
    before = peak_kilobytes()
    FORMS[name](a, b, scale)
    return round((peak_kilobytes() - before) / 2**20, 3)


def peak_kilobytes():
    """Return the peak of resident memory of this process alone, without that of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def errors(batch, dim):
    found = {}
    for kind, scale in (("random", 1 / 0.07), ("learned", 100.0)):
        a, b = draw(batch, dim), draw(batch, dim, seed=1)
        if kind == "learned":
            b = normalize(a.detach() + 3 * b.detach(), dim=1).requires_grad_()
        values = {}
        for name, dtype in (("exact", torch.float64), ("tiled", torch.float32), ("dense", torch.float32)):
            x, y = (v.detach().to(dtype).requires_grad_() for v in (a, b))
            s = torch.tensor(scale, dtype=dtype, requires_grad=True)
            loss = info_nce(x, y, scale=s) if name == "tiled" else info_nce_dense(x, y, s)
            values[name] = [loss.detach().double(), *(g.double() for g in torch.autograd.grad(loss, (x, y, s)))]
        exact = values.pop("exact")
        found[kind] = {"loss": float(exact[0])} | {
            name: {
                "loss": float((v[0] - exact[0]).abs()),
                "gradient": max(
                    float((g - e).abs().max() / e.abs().max()) for g, e in zip(v[1:], exact[1:], strict=True)
                ),
            }
            for name, v in values.items()
        }
    return {"batch": batch, "dim": dim, **found}


def late(items, tokens, dim, rounds):
    """Time late interaction, forward and backward, beside its bare products."""
    from isthmus.parts.late_interaction import late_interaction, tiles

    draw_tokens = torch.Generator().manual_seed(0)
    v, t = (normalize(torch.randn(items, tokens, dim, generator=draw_tokens), dim=-1).requires_grad_() for _ in "vt")
    mask = torch.ones(items, tokens, dtype=torch.bool)
    weights = torch.randn(items, items, generator=draw_tokens)

    def bare():
        """One product of similarities, two of gradients."""
        x, y = v.detach(), t.detach()
        into_x, into_y = torch.zeros_like(x), torch.zeros_like(y)
        for rows, columns in tiles(v, t):
            p, q = x[rows].flatten(0, 1), y[columns].flatten(0, 1)
            g = p @ q.T
            into_x[rows].flatten(0, 1).addmm_(g, q)
            into_y[columns].flatten(0, 1).addmm_(g.T, p)

    def whole():
        forth, back = late_interaction(v, t, mask, mask)
        ((forth + back) * weights).sum().backward()

    bare(), whole()
    seconds = [(timed(bare)[0], timed(whole)[0]) for _ in range(rounds)]
    return {
        "items": items,
        "tokens": tokens,
        "dim": dim,
        "seconds": {"products": round(statistics.median(s for s, _ in seconds), 3)}
        | {"late interaction": round(statistics.median(s for _, s in seconds), 3)},
        "over_products": round(statistics.median(b / a for a, b in seconds), 3),
    }


def main():
    parser = report.options(__doc__, rounds=3)
    parser.add_argument("--batch", type=int, nargs="+", default=[4096, 8192, 16384, 32768])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument(
        "--most-dense",
        type=int,
        default=16384,
        help="largest batch for ClipLoss; half of it for dense",
    )
    parser.add_argument("--error-batch", type=int, default=4096)
    parser.add_argument("--late", type=int, nargs=3, default=[256, 50, 256], help="items, tokens and width")
    parser.add_argument("--only", choices=list(FORMS), help="print what one form adds to memory, and nothing else")
    options = parser.parse_args()
    if options.only:
        print(only(options.only, options.batch[0], options.dim))
        return
    found = {"tile": list(TILE), "late_interaction": late(*options.late, options.rounds)}
    found |= {"errors": errors(options.error_batch, options.dim), "runs": []}
    for batch in options.batch:  # the report is whole after each of them, because the large ones take minutes
        found["runs"].append(measure(batch, options.dim, options.rounds, options.most_dense))
        report.publish({**found, **report.surroundings("torch", "open_clip_torch")}, options.out)


if __name__ == "__main__":
    main()
