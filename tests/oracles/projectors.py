"""Slow loops written from the equations of the projectors paper; nothing of isthmus is imported."""

import math

import numpy as np


def info_nce(a, b, scale, mask=None, targets=None):
    """Symmetric InfoNCE with plain loops; rows without a positive are left out of the mean."""
    targets = np.eye(len(a)) if targets is None else targets
    mask = np.ones((len(a), len(b)), bool) if mask is None else mask

    def side(logits, targets, mask):
        losses = []
        for row, target, keep in zip(logits, targets, mask, strict=True):
            if target.sum() == 0:
                continue
            total = math.log(sum(math.exp(v) for v, k in zip(row, keep, strict=True) if k))
            losses.append(sum(t / target.sum() * (total - v) for v, t in zip(row, target, strict=True) if t > 0))
        return sum(losses) / len(losses)

    logits = np.array([[scale * float(np.dot(x, y)) for y in b] for x in a])
    return (side(logits, targets, mask) + side(logits.T, targets.T, mask.T)) / 2


def gelu(x):
    return np.vectorize(lambda v: v * 0.5 * (1 + math.erf(v / math.sqrt(2))))(x)


def layer_norm(x, weight, bias, eps=1e-5):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * weight + bias


def token_projector(x, w):
    """LN, then Linear(d→D) + (Linear→GELU→Linear)."""
    x = layer_norm(x, w["norm.weight"], w["norm.bias"])
    straight = x @ w["linear.weight"].T + w["linear.bias"]
    hidden = gelu(x @ w["mlp.0.weight"].T + w["mlp.0.bias"])
    return straight + hidden @ w["mlp.2.weight"].T + w["mlp.2.bias"]


def mlp_head(x, w):
    """LN(p + Linear(GELU(p))), p = Linear(x)."""
    p = x @ w["project.weight"].T + w["project.bias"]
    return layer_norm(p + gelu(p) @ w["residual.weight"].T + w["residual.bias"], w["norm.weight"], w["norm.bias"])


def sparc(patches, words, mask, scale=1.0, threshold=None):
    """Word by word: min-max similarities, threshold, grouped patch; contrast inside each text."""
    n, p, _ = patches.shape
    bar = 1 / p if threshold is None else threshold
    total, count = 0.0, 0
    for i in range(n):
        real = [t for t in range(len(mask[i])) if mask[i][t]]
        groups, unit = [], []
        for t in real:
            s = np.array([words[i, t] @ q for q in patches[i]])
            s = (s - s.min()) / (s.max() - s.min())
            s[s < bar] = 0
            g = (s / s.sum()) @ patches[i]
            groups.append(g / np.linalg.norm(g))
            unit.append(words[i, t] / np.linalg.norm(words[i, t]))
        logits = scale * np.array(groups) @ np.array(unit).T
        for table in (logits, logits.T):
            for k, row in enumerate(table):
                total += math.log(np.exp(row).sum()) - row[k]
                count += 1
    return total / count


def curate(pool, prototypes, keep, per_class):
    """The collection scripts' procedure on the whole pool at once: {id: class}."""
    unit = {i: np.asarray(v) / np.linalg.norm(v) for i, v in pool.items()}
    classes = [np.asarray(p) / np.linalg.norm(p) for p in prototypes]
    best = [sorted(((-float(p @ v), i) for i, v in unit.items()))[:keep] for p in classes]
    chosen = {}
    for c in sorted(range(len(classes)), key=lambda c: (-best[c][-1][0], c)):
        free = [i for _, i in best[c] if i not in chosen][:per_class]
        chosen |= dict.fromkeys(free, c)
    return chosen


def canonical_correlations(x, y):
    """The canonical correlations of two sets, by the textbook eigenvalue problem."""
    x, y = x - x.mean(0), y - y.mean(0)
    cxx, cyy, cxy = x.T @ x, y.T @ y, x.T @ y
    product = np.linalg.inv(cxx) @ cxy @ np.linalg.inv(cyy) @ cxy.T
    return np.sqrt(np.sort(np.linalg.eigvals(product).real.clip(0))[::-1])
