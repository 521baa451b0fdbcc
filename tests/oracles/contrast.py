"""Slow loops for the contrastive losses, written from the equations in double precision."""

import math


def _scores(a, b, scale):
    return [[scale * sum(x * y for x, y in zip(p, q, strict=True)) for q in b] for p in a]


def _one_way(scores, targets, keep):
    losses = []
    for i, row in enumerate(scores):
        mass = sum(targets[i])
        if mass == 0:
            continue
        z = math.log(sum(math.exp(s) for j, s in enumerate(row) if keep[i][j]))
        losses.append(-sum(t / mass * (row[j] - z) for j, t in enumerate(targets[i]) if t > 0))
    return sum(losses) / len(losses)


def _turn(x):
    return [list(column) for column in zip(*x, strict=True)]


def info_nce(a, b, scale, targets, keep, pair):
    """Both ways, with soft targets, a mask and a factor for each pair."""
    scores = [[s * f for s, f in zip(r, p, strict=True)] for r, p in zip(_scores(a, b, scale), pair, strict=True)]
    return (_one_way(scores, targets, keep) + _one_way(_turn(scores), _turn(targets), _turn(keep))) / 2


def sigmoid(a, b, scale, bias, targets, keep):
    """Every pair that is kept, asked whether it belongs together."""
    total = 0.0
    for i, row in enumerate(_scores(a, b, scale)):
        for j, s in enumerate(row):
            if keep[i][j]:
                p = 1 / (1 + math.exp(-(s + bias)))
                total -= targets[i][j] * math.log(p) + (1 - targets[i][j]) * math.log(1 - p)
    return total / len(a)


def hinge(a, b, margin, keep):
    """Every pair against its hardest negative, both ways."""
    scores, total = _scores(a, b, 1.0), 0.0
    for i in range(len(a)):
        across = [scores[i][j] for j in range(len(a)) if j != i and keep[i][j]]
        down = [scores[j][i] for j in range(len(a)) if j != i and keep[j][i]]
        total += sum(max(0.0, margin + max(side) - scores[i][i]) for side in (across, down) if side)
    return total / len(a)


def late_interaction(v, t, mask_v, mask_t, total=False):
    """Mean (or sum) over an item's tokens of the best match among the other's; from v to t and from t to v."""

    def best(xs, ys):
        found = [max(sum(p * q for p, q in zip(x, y, strict=True)) for y in ys) for x in xs]
        return sum(found) if total else sum(found) / len(found)

    kept = [
        [[x for x, m in zip(item, mask, strict=True) if m] for item, mask in zip(side, masks, strict=True)]
        for side, masks in ((v, mask_v), (t, mask_t))
    ]
    return (
        [[best(x, y) for y in kept[1]] for x in kept[0]],
        [[best(y, x) for y in kept[1]] for x in kept[0]],
    )
