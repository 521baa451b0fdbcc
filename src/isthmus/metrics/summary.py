"""The row of figures that papers on retrieval print: R@k, median and mean rank, and the geometric mean of R@k."""

import numpy as np

from isthmus.metrics.retrieval import CUTOFFS, Ranks, recall_at_k

__all__ = ["summary"]


def summary(ranks: Ranks) -> dict[str, float]:
    """Return ``r@1``, ``r@5``, ``r@10``, ``mdr``, ``mnr`` and ``geometric_mean`` over the queries.

    ``mdr`` and ``mnr`` are the median and the mean of the rank of each query's best positive, from 1; the geometric
    mean is (R@1 · R@5 · R@10)^⅓, 0 where one of them is.

    Relations: every positive first → 1, 1, 1, 1, 1, 1.
    """
    recalls = {f"r@{k}": float(recall_at_k(ranks, k).mean()) for k in CUTOFFS}
    return {
        **recalls,
        "mdr": float(np.median(ranks.first)),
        "mnr": float(np.mean(ranks.first)),
        "geometric_mean": float(np.prod(list(recalls.values())) ** (1 / len(recalls))),
    }
