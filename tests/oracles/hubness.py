"""Slow loops written from the equations of the hubness papers; nothing of isthmus is imported."""

import math

import numpy as np


def inverted_softmax(s, b, beta):
    """η(q, j) = e^{βS_qj} / Σ_b e^{βB_bj}, as products of exponentials."""
    return np.array(
        [[math.exp(beta * v) / sum(math.exp(beta * w) for w in b[:, j]) for j, v in enumerate(row)] for row in s]
    )


def active(b, k):
    """The union of the first k items of every bank entry."""
    return {int(j) for row in b for j in sorted(range(len(row)), key=lambda j: -row[j])[:k]}


def dynamic_inverted_softmax(s, b, beta, k):
    """IS rows (on the log scale) for queries whose best item is active, plain rows for the others."""
    eta, items = inverted_softmax(s, b, beta), active(b, k)
    return np.array([np.log(eta[q]) if int(np.argmax(row)) in items else row for q, row in enumerate(s)])


def dual(s, b_q, b_g, beta_q, beta_g):
    """η_g · η_q."""
    return inverted_softmax(s, b_g, beta_g) * inverted_softmax(s, b_q, beta_q)


def dual_dynamic(s, b_q, b_g, beta_q, beta_g, k):
    """The log of the product of those factors whose activation set holds the query's best item."""
    first, second = np.log(inverted_softmax(s, b_q, beta_q)), np.log(inverted_softmax(s, b_g, beta_g))
    rows = []
    for q, row in enumerate(s):
        on = [f[q] for f, b in ((first, b_q), (second, b_g)) if int(np.argmax(row)) in active(b, k)]
        rows.append(sum(on) if on else row)
    return np.array(rows)


def largest(values, k):
    return sum(sorted(values, reverse=True)[:k]) / min(k, len(values))


def csls(s, b, k):
    return np.array([[2 * v - largest(row, k) - largest(b[:, j], k) for j, v in enumerate(row)] for row in s])


def nnn(s, b, k, alpha):
    return np.array([[v - alpha * largest(b[:, j], k) for j, v in enumerate(row)] for row in s])


def globally_corrected(s, b):
    """Pairs (−rank, S): compared in this order."""
    return [[(-sum(w > v for w in b[:, j]), v) for j, v in enumerate(row)] for row in s]


def dual_softmax(s, beta):
    return np.array(
        [[v * math.exp(beta * v) / sum(math.exp(beta * w) for w in s[:, j]) for j, v in enumerate(row)] for row in s]
    )


def distribution_normalised(q, g, bank_q, bank_g, weight):
    mean_q, mean_g = (np.array([sum(x[:, c]) / len(x) for c in range(x.shape[1])]) for x in (bank_q, bank_g))
    return np.array([[float(np.dot(a - weight * mean_q, b - weight * mean_g)) for b in g] for a in q])
