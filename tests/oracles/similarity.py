"""HSIC from its definitions: the matrix form of the biased estimator, the U-statistic of the unbiased one."""

import itertools
import math

import numpy as np


def biased_hsic(k, l):  # noqa: E741
    n = len(k)
    h = np.eye(n) - np.full((n, n), 1 / n)
    return np.trace(k @ h @ l @ h)


def unbiased_hsic(k, l):  # noqa: E741
    """Mean over all ordered quadruples of different items of KᵢⱼLᵢⱼ + KᵢⱼL_qr − 2 KᵢⱼL_iq."""
    n, total = len(k), 0.0
    for i, j, q, r in itertools.permutations(range(n), 4):
        total += k[i][j] * l[i][j] + k[i][j] * l[q][r] - 2 * k[i][j] * l[i][q]
    return total / (n * (n - 1) * (n - 2) * (n - 3))


def cka(k, l, hsic):  # noqa: E741
    return hsic(k, l) / math.sqrt(hsic(k, k) * hsic(l, l))


def linear_gram(x):
    return [[float(sum(a * b for a, b in zip(u, v, strict=True))) for v in x] for u in x]


def rbf_gram(x, bandwidth):
    squared = [[sum((a - b) ** 2 for a, b in zip(u, v, strict=True)) for v in x] for u in x]
    pairs = sorted(squared[i][j] for i in range(len(x)) for j in range(i))
    half = len(pairs) // 2
    median = pairs[half] if len(pairs) % 2 else (pairs[half - 1] + pairs[half]) / 2
    return [[math.exp(-s / (2 * bandwidth**2 * median)) for s in row] for row in squared]
