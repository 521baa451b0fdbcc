"""1-to-K contrast, mining and mean rank variance as loops over the equations."""

import math


def _dot(a, b):
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def log_softmax(scores, at):
    top = max(scores)
    return scores[at] - top - math.log(sum(math.exp(s - top) for s in scores))


def halves(v, t, k, tau, present):
    """The two halves as means over items and over texts."""
    n = len(v)
    rows = [(i, j) for i in range(n) for j in range(k) if present[i][j]]
    of_items, of_texts = [], []
    for i in range(n):
        scores = [_dot(v[i], t[a * k + b]) / tau for a, b in rows]
        own = [log_softmax(scores, at) for at, (a, _) in enumerate(rows) if a == i]
        if own:
            of_items.append(-sum(own) / len(own))
    for a, b in rows:
        of_texts.append(-log_softmax([_dot(t[a * k + b], v[i]) / tau for i in range(n)], a))
    return sum(of_items) / len(of_items), sum(of_texts) / len(of_texts)


def loss(v, t, k, tau, present, balance):
    i2t, t2i = halves(v, t, k, tau, present)
    return (i2t + (t2i / k if balance == "repo" else t2i)) / 2


def released(v, t, k, tau):
    """As the released code adds it up: sums over an item's texts, both halves over 2K."""
    n = len(v)
    table = [[_dot(x, y) / tau for y in t] for x in v]
    i2t = sum(-log_softmax(table[i], i * k + j) for i in range(n) for j in range(k)) / n
    t2i = sum(-log_softmax([table[i][c] for i in range(n)], c // k) for c in range(n * k)) / (n * k)
    return (i2t + t2i) / 2 / k


def chances_of_texts(scores, k):
    """The chance of each of an item's texts to be chosen for matching."""
    n = len(scores)
    weights = [[math.exp(log_softmax(row, c)) + 1e-5 for c in range(len(row))] for row in scores]
    most = max(max(row) for row in weights) + 1e-5
    found = []
    for i in range(n):
        own = [most - weights[i][i * k + j] for j in range(k)]
        found.append([w / sum(own) for w in own])
    return found


def mean_rank_variance(ranks):
    total = 0.0
    for row in ranks:
        mean = sum(row) / len(row)
        total += sum((r - mean) ** 2 for r in row) / len(row)
    return total / len(ranks)
