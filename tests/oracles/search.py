"""Exact search as sorting all pairs."""


def search(queries, gallery, k):
    """Return [(score, id)] for every query, best first, the lower id first among equals."""
    result = []
    for q in queries:
        scored = [(sum(a * b for a, b in zip(q, g, strict=True)), i) for i, g in enumerate(gallery)]
        result.append(sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:k])
    return result
