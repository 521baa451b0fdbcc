"""Mixing on the sphere and the losses of it as loops over the equations."""

import math


def _dot(a, b):
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def mix(a, b, lam):
    theta = math.acos(max(-1.0, min(1.0, _dot(a, b))))
    if theta == 0:
        return list(a)
    p, q = math.sin(lam * theta) / math.sin(theta), math.sin((1 - lam) * theta) / math.sin(theta)
    return [p * x + q * y for x, y in zip(a, b, strict=True)]


def _nll(scores, own):
    return math.log(sum(math.exp(s) for s in scores)) - own


def m2(a, b, lam, tau, keys):
    n = len(a)
    hard = [mix(x, y, lam) for x, y in zip(a, b, strict=True)]
    total = 0.0
    for side, other in ((a, b), (b, a)):
        for i in range(n):
            own = _dot(side[i], other[i]) / tau
            negatives = [_dot(side[i], hard[j]) / tau for j in range(n) if keys[j] != keys[i]]
            total += _nll([own, *negatives], own) / n
    return total


def unimodal(a, b, lam, tau, sides, original):
    """Logits of the mixed sides; the targets are λ and 1 − λ, or ½ and ½ where both are mixed."""
    n = len(a)
    x = [mix(a[i], a[n - 1 - i], lam) if "v" in sides else a[i] for i in range(n)]
    y = [mix(b[i], b[n - 1 - i], lam) if "l" in sides else b[i] for i in range(n)]
    share = (0.5, 0.5) if sides == "vl" else (lam, 1 - lam)

    def logit(i, j):
        changed = not original or j in (i, n - 1 - i)
        return (_dot(x[i], y[j]) if changed else _dot(a[i], b[j])) / tau

    total = 0.0
    for i in range(n):
        row, column = [logit(i, j) for j in range(n)], [logit(j, i) for j in range(n)]
        for scores in (row, column):
            for weight, at in zip(share, (i, n - 1 - i), strict=True):
                total += weight * _nll(scores, scores[at]) / (2 * n)
    return total
