"""Slow loops for the continuously weighted contrastive loss, written from the equations."""

import math


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def affine(ref):
    """(cosine + 1) / 2 of every two rows."""
    unit = [[x / math.sqrt(dot(r, r)) for x in r] for r in ref]
    return [[(dot(a, b) + 1) / 2 for b in unit] for a in unit]


def one_way(anchors, candidates, weights, tau):
    """−1/B Σ_i 1/(Σ_j w_ij) Σ_j w_ij log softmax_j(⟨a_i, c_j⟩/τ)."""
    total = 0.0
    for a, row in zip(anchors, weights, strict=True):
        logits = [dot(a, c) / tau for c in candidates]
        normaliser = math.log(sum(math.exp(v) for v in logits))
        total -= sum(w * (v - normaliser) for w, v in zip(row, logits, strict=True)) / sum(row)
    return total / len(anchors)


def cwcl(p, q, weights, tau):
    """The weighted term from p to q, the plain term from q to p."""
    plain = [[float(i == j) for j in range(len(p))] for i in range(len(p))]
    return one_way(p, q, weights, tau) + one_way(q, p, plain, tau)


def supcon(p, q, labels, tau):
    """Supervised contrast with the logarithm outside, from p to q: the mean over positives of −log softmax."""
    total = 0.0
    for a, mine in zip(p, labels, strict=True):
        logits = [dot(a, c) / tau for c in q]
        normaliser = math.log(sum(math.exp(v) for v in logits))
        own = [v - normaliser for v, label in zip(logits, labels, strict=True) if label == mine]
        total -= sum(own) / len(own)
    return total / len(p)


def effective(row):
    """exp of the entropy of the normalised row."""
    shares = [w / sum(row) for w in row if w > 0]
    return math.exp(-sum(s * math.log(s) for s in shares))


def spearman(p, r):
    """Rank correlation (no ties) of the dot products of every two unit rows."""

    def products(x):
        unit = [[v / math.sqrt(dot(a, a)) for v in a] for a in x]
        return [dot(unit[i], unit[j]) for i in range(len(x)) for j in range(i + 1, len(x))]

    def ranks(values):
        order = sorted(range(len(values)), key=values.__getitem__)
        return [order.index(i) for i in range(len(values))]

    a, b = ranks(products(p)), ranks(products(r))
    n = len(a)
    return 1 - 6 * sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / (n * (n**2 - 1))
