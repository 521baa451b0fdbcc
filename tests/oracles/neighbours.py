"""Slow loops for neighbourhoods and correlations of similarities."""

import numpy as np


def _cosine(a, b):
    return float(np.dot(a, b) / (np.dot(a, a) ** 0.5 * np.dot(b, b) ** 0.5))


def nearest(x, k):
    n = len(x)
    return [set(sorted((j for j in range(n) if j != i), key=lambda j: (-round(_cosine(x[i], x[j]), 12), j))[:k])
            for i in range(n)]  # fmt: skip


def mutual(x, y, k):
    pairs = list(zip(nearest(x, k), nearest(y, k), strict=True))
    return sum(len(a & b) / k for a, b in pairs) / len(x), sum(len(a & b) / len(a | b) for a, b in pairs) / len(x)


def _ranks(values):
    return [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]


def rsa(x, y):
    n = len(x)
    tables = [[round(_cosine(v[i], v[j]), 12) for i in range(n) for j in range(i + 1, n)] for v in (x, y)]
    return float(np.corrcoef(*[_ranks(t) for t in tables])[0, 1])


def svcca(x, y, kept):
    sides = []
    for v in (x, y):
        v = v - v.mean(0)
        values, directions = np.linalg.eigh(v.T @ v)
        values, directions = values[::-1], directions[:, ::-1]
        k = next(i for i in range(1, len(values) + 1) if values[:i].sum() >= kept * values.sum() * (1 - 1e-9))
        sides.append(v @ directions[:, :k])
    a, b = sides
    m = np.linalg.inv(a.T @ a) @ a.T @ b @ np.linalg.inv(b.T @ b) @ b.T @ a
    roots = np.sort(np.linalg.eigvals(m).real)[::-1][: min(a.shape[1], b.shape[1])]
    return float(np.sqrt(roots.clip(0)).mean())
