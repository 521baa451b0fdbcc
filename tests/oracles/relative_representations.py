"""Slow loops for relative representations, from the equations; they import nothing of isthmus."""

import math

import numpy as np


def relative(x, anchors, similarity):
    table = np.zeros((len(x), len(anchors)))
    for i, u in enumerate(x):
        for j, v in enumerate(anchors):
            if similarity in ("cosine", "angular"):
                lengths = math.sqrt(sum(c * c for c in u)) * math.sqrt(sum(c * c for c in v))
                cosine = sum(c * d for c, d in zip(u, v, strict=True)) / lengths
                table[i, j] = cosine if similarity == "cosine" else 1 - math.acos(cosine) / math.pi
            elif similarity == "euclidean":
                table[i, j] = -math.sqrt(sum((c - d) ** 2 for c, d in zip(u, v, strict=True)))
            else:
                table[i, j] = -sum(abs(c - d) for c, d in zip(u, v, strict=True))
    return table


def farthest(x, first, k):
    """Rows in the order in which they are taken: each the one with the smallest largest cosine to those taken."""
    z = [row / np.linalg.norm(row) for row in x]
    taken = [first]
    while len(taken) < k:
        rest = [i for i in range(len(z)) if i not in taken]
        taken.append(min(rest, key=lambda i: max(float(z[i] @ z[j]) for j in taken)))
    return taken


def mean_reciprocal_rank(a, b):
    total = 0.0
    for i, row in enumerate(b):
        cosines = [float(row @ other / np.linalg.norm(row) / np.linalg.norm(other)) for other in a]
        total += 1 / sum(c >= cosines[i] - 1e-12 for c in cosines)
    return total / len(b)
