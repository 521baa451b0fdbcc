"""Retrieval figures as loops over one sorted list. A negative that ties with a positive comes first."""

import math


def ranked(scores, relevant):
    """Return the relevance of a ranking, best first."""
    return [r for _, r in sorted(zip(scores, relevant, strict=True), key=lambda item: (-item[0], item[1]))]


def positive_ranks(scores, relevant):
    return [place for place, r in enumerate(ranked(scores, relevant), start=1) if r]


def recall_at_k(scores, relevant, k):
    return float(any(ranked(scores, relevant)[:k]))


def share_at_k(scores, relevant, k):
    return sum(ranked(scores, relevant)[:k]) / sum(relevant)


def reciprocal_rank(scores, relevant):
    for place, r in enumerate(ranked(scores, relevant), start=1):
        if r:
            return 1 / place
    raise AssertionError("no positive")


def average_precision(scores, relevant):
    hits, total = 0, 0.0
    for place, r in enumerate(ranked(scores, relevant), start=1):
        if r:
            hits += 1
            total += hits / place
    return total / hits


def ndcg_at_k(scores, relevant, k):
    def dcg(order):
        return sum(r / math.log2(1 + place) for place, r in enumerate(order[:k], start=1))

    return dcg(ranked(scores, relevant)) / dcg(sorted(relevant, reverse=True))


def k_occurrence(scores, k):
    """Return for each column how many rows have it among their k largest; equal last ones share the places."""
    counts = [0.0] * len(scores[0])
    for row in scores:
        last = sorted(row, reverse=True)[k - 1]
        above = [j for j, s in enumerate(row) if s > last]
        tied = [j for j, s in enumerate(row) if s == last]
        for j in above:
            counts[j] += 1
        for j in tied:
            counts[j] += (k - len(above)) / len(tied)
    return counts
