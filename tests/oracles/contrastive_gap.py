"""The terms beside the contrastive loss as loops over the equations."""

import math


def _dot(a, b):
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def _far(a, b):
    return sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))


def strangers(keys):
    n = len(keys)
    return [(j, k) for j in range(n) for k in range(n) if keys[j] != keys[k]]


def near(a, b, keys, t=2.0):
    terms = [math.exp(-t * _far(a[j], b[k])) for j, k in strangers(keys)]
    return math.log(sum(terms) / len(terms))


def alignment(a, b):
    return sum(_far(x, y) for x, y in zip(a, b, strict=True)) / len(a)


def cyclic(a, b):
    n = len(a)
    own = sum((_dot(a[j], a[k]) - _dot(b[j], b[k])) ** 2 for j in range(n) for k in range(n))
    across = sum((_dot(a[j], b[k]) - _dot(b[j], a[k])) ** 2 for j in range(n) for k in range(n))
    return (own + across) / (4 * n)


def uniform_cyclic(a, b, keys):
    pairs = strangers(keys)
    return sum((_far(a[j], a[k]) - _far(b[j], b[k])) ** 2 for j, k in pairs) / len(pairs)


def cyclic_direction(a, b):
    n, d = len(a), len(a[0])
    e = [[float(x) - float(y) for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]
    return sum(_far(e[j], e[k]) for j in range(n) for k in range(n)) / (n * n * d)


def cosine_uniformity(a, b, keys):
    pairs = strangers(keys)

    def mean(x, y):
        return math.log(sum(math.exp(_dot(x[j], y[k])) for j, k in pairs) / len(pairs))

    return mean(a, b) / 2 + mean(a, a) / 4 + mean(b, b) / 4


def joint_contrast(a, b, tau, keys, with_itself):
    n, z, names = len(a), [*a, *b], [*keys, *keys]
    total = 0.0
    for i in range(2 * n):
        own = (i + n) % (2 * n)
        kept = [j for j in range(2 * n) if j == own or names[j] != names[i] or (j == i and with_itself)]
        scores = {j: _dot(z[i], z[j]) / tau for j in kept}
        total -= scores[own] - math.log(sum(math.exp(s) for s in scores.values()))
    return total / (2 * n)
