"""Slow loops for the closed-form maps, written from their equations."""

import numpy as np


def ridge(x, y, rho):
    """Column by column from the normal equations, means taken off by hand."""
    n, d = x.shape
    mx, my = x.sum(0) / n, y.sum(0) / n
    s = np.zeros((d, d))
    c = np.zeros((d, y.shape[1]))
    for i in range(n):
        for j in range(d):
            for k in range(d):
                s[j, k] += (x[i, j] - mx[j]) * (x[i, k] - mx[k])
            for k in range(y.shape[1]):
                c[j, k] += (x[i, j] - mx[j]) * (y[i, k] - my[k])
    penalty = rho * np.trace(s) / d
    w = np.column_stack([np.linalg.solve(s + penalty * np.eye(d), c[:, k]) for k in range(y.shape[1])])
    return w, mx, my


def rotation_by_angles(x, y):
    """The best turn of two columns, found by trying every angle, with and without a reflection."""
    x, y = x - x.mean(0), y - y.mean(0)
    best, found = np.inf, None
    for flip in (1, -1):
        for angle in np.linspace(0, 2 * np.pi, 7200, endpoint=False):
            c, s = np.cos(angle), np.sin(angle)
            r = np.array([[c, -s], [s, c]]) @ np.diag([1, flip])
            off = np.sum((x @ r - y) ** 2)
            if off < best:
                best, found = off, r
    return found


def canonical_by_eigen(x, y):
    """Correlations as the roots of the eigenvalues of C_xx⁻¹ C_xy C_yy⁻¹ C_yx."""
    x, y = x - x.mean(0), y - y.mean(0)
    a, b, c = x.T @ x, y.T @ y, x.T @ y
    values = np.linalg.eigvals(np.linalg.solve(a, c) @ np.linalg.solve(b, c.T)).real
    return np.sqrt(np.sort(values)[::-1].clip(0))[: min(x.shape[1], y.shape[1])]


def relative(x, anchors, kind):
    table = np.zeros((len(x), len(anchors)))
    for i, row in enumerate(x):
        for j, anchor in enumerate(anchors):
            cosine = sum(a * b for a, b in zip(row, anchor, strict=True)) / (
                sum(a * a for a in row) ** 0.5 * sum(b * b for b in anchor) ** 0.5
            )
            table[i, j] = {
                "cosine": cosine,
                "angular": 1 - np.arccos(np.clip(cosine, -1, 1)) / np.pi,
                "euclidean": -(sum((a - b) ** 2 for a, b in zip(row, anchor, strict=True)) ** 0.5),
            }[kind]
    return table
