"""Exact search by inner product: a blocked matrix product, and a selection that costs little beside it.

The product runs in the BLAS of numpy, one block of queries against one block of the gallery at a time. After the
first block almost no score beats a query's worst kept one, so that one comparison a score is all that is left to
do. (The library `faiss` does the same inside, with the BLAS of its own wheel; which of the two is faster is a
matter of these, and `benchmarks/exact_search.py` measures it.)

Scores of a matrix product depend in their last digits on the block in which they were computed. The few kept ones
are therefore computed again in float64, so that a result does not depend on what it was computed together with.
"""

from typing import Any

import numpy as np

from isthmus.core.errors import BadInput

__all__ = ["exact_search", "rescored"]

QUERY_BLOCK = 1024
GALLERY_BLOCK = 4096
PIECES = 8
"""Pieces of a row of scores that are looked at one by one; the width of a block is a multiple of it."""
SPARE = 4
"""Hits kept beyond k while scores are approximate: one of them may overtake when they are computed exactly."""
GATHER = 1 << 16
"""Numbers gathered at a time when the kept scores are computed again: few enough to stay in the cache."""


def exact_search(queries: Any, gallery: Any, *, k: int, rows: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the k gallery rows with the largest inner product for every query: (scores, ids), both (q, k).

        scores[i, j] = queries[i] · gallery[ids[i, j]],  scores[i, 0] ≥ scores[i, 1] ≥ …

    `queries` is (q, d) and `gallery` (n, d); scores are float32, ids int64. Equal scores come with the lower id
    first. With fewer than k rows the result has n columns. The gallery may be a memory map: it is read block by
    block, once, and memory beside it is a few blocks and the result. Vectors of length 1 make the score a cosine.
    With `rows`, ascending ids (m,), only these rows are searched, and read.

    Raises `BadInput` for shapes that do not fit, k below 1, rows that do not ascend or lie outside of the gallery, or
    values that are not finite.

    Relations: equal to sorting ``queries @ gallery.T`` by score and id; permuting the queries permutes the rows;
    any part of the queries gives the same rows as all of them; `rows` gives what the gallery of these rows gives.
    """
    queries, gallery, part = _checked(queries, gallery, k, rows)
    q, n = len(queries), len(part)
    k = min(k, n)
    if not q or not k:
        return np.empty((q, k), np.float32), np.empty((q, k), np.int64)
    best = _select(queries, part, min(k + SPARE, n))
    places = np.sort(0xFFFFFFFF - (best & 0xFFFFFFFF), axis=1)
    return rescored(queries, gallery, places if part.rows is None else part.rows[places], k)


def rescored(queries: np.ndarray, gallery: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k best of candidates `ids` (q, c), which ascend in each row, by exact scores; −1 is no candidate."""
    (q, d), c = queries.shape, ids.shape[1]
    scores = np.empty(ids.shape, np.float32)
    step = max(1, GATHER // (c * d))
    for start in range(0, q, step):
        rows = slice(start, start + step)
        found = np.asarray(gallery[ids[rows].ravel()], np.float64).reshape(*ids[rows].shape, d)
        scores[rows] = np.einsum("qd,qcd->qc", queries[rows].astype(np.float64), found)
    scores[ids < 0] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]  # stable, and ids ascend: the lower id comes first
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)


class _Part:
    """A gallery, or some of its rows, read block by block."""

    def __init__(self, gallery: np.ndarray, rows: np.ndarray | None) -> None:
        self.gallery, self.rows = gallery, rows

    def __len__(self) -> int:
        return len(self.gallery if self.rows is None else self.rows)

    def block(self, start: int, width: int) -> np.ndarray:
        """Return some rows in a row, without a copy where they lie side by side."""
        if self.rows is None:
            return np.ascontiguousarray(self.gallery[start : start + width], dtype=np.float32)
        ids = self.rows[start : start + width]
        together = ids[-1] - ids[0] == len(ids) - 1
        chosen = self.gallery[ids[0] : ids[-1] + 1] if together else self.gallery[ids]
        return np.ascontiguousarray(chosen, dtype=np.float32)

    def id(self, place: int) -> int:
        """Return the row of the gallery at a place."""
        return place if self.rows is None else int(self.rows[place])


def _checked(queries: Any, gallery: Any, k: int, rows: Any) -> tuple[np.ndarray, np.ndarray, _Part]:
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    gallery = gallery if isinstance(gallery, np.ndarray) else np.asarray(gallery, dtype=np.float32)
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1] or not queries.shape[1]:
        raise BadInput(f"queries (q, d) and a gallery (n, d) are expected, got {queries.shape} and {gallery.shape}")
    if gallery.dtype.kind != "f":
        raise BadInput(f"a gallery of floats is expected, got {gallery.dtype}")
    if k < 1:
        raise BadInput(f"k must be at least 1, got {k}")
    if len(gallery) >= 1 << 32:
        raise BadInput(f"a gallery of {len(gallery)} rows is too large for one search: split it below 2**32")
    if not np.isfinite(queries).all():
        bad = np.flatnonzero(~np.isfinite(queries).all(axis=1))
        raise BadInput(f"{len(bad)} of {len(queries)} queries hold NaN or infinity, the first is row {bad[0]}")
    if rows is not None:
        rows = np.asarray(rows, dtype=np.int64)
        ascending = rows.ndim == 1 and bool((np.diff(rows) > 0).all())
        if not ascending or (len(rows) and not 0 <= rows[0] <= rows[-1] < len(gallery)):
            raise BadInput(f"rows are ascending numbers from 0 to {len(gallery) - 1}, got {rows[:3]} … {rows[-3:]}")
    return queries, gallery, _Part(gallery, rows)


def _select(queries: np.ndarray, gallery: _Part, c: int) -> np.ndarray:
    """Return the keys (q, c) of the best c places of each query in a gallery, in no order.

    A key is an int64 that sorts by score and then by falling id (`_keys`), so that a partition of keys never
    leaves the choice among equal scores to chance.
    """
    (q, d), n = queries.shape, len(gallery)
    best = np.full((q, c), _keys(np.float32(-np.inf), np.int64(0)))
    floor = np.full(q, -np.inf, np.float32)
    width, starts = _blocks(n, GALLERY_BLOCK)
    height = -(-q // -(-q // QUERY_BLOCK))
    product = np.empty((height, width), np.float32)
    seen = 0
    for start in starts:
        block = gallery.block(start, width)
        if n < width:
            block = np.concatenate([block, np.zeros((width - n, d), np.float32)])
        for top in range(0, q, height):
            rows = slice(top, min(top + height, q))
            scores = product[: rows.stop - top]
            with np.errstate(invalid="ignore", over="ignore"):  # refused in words, here and at the end
                np.matmul(queries[rows], block.T, out=scores)
            if not np.isfinite(scores[0]).all():
                raise BadInput(f"{_bad_rows(block, start, gallery)}: products with the queries are not finite")
            scores[:, : seen - start] = -np.inf  # rows that the block before has had
            scores[:, n - start :] = -np.inf  # rows that are not there
            if not seen:
                floor[rows] = _first_floor(scores, c)
            _merge(best[rows], floor[rows], scores, start)
        seen = start + width
    if not (whole := np.isfinite(_scores(best)).all(axis=1)).all():
        raise BadInput(f"products with query {np.flatnonzero(~whole)[0]} overflow float32: scale the vectors down")
    return best


def _blocks(n: int, most: int) -> tuple[int, list[int]]:
    """Return a width and the starts of blocks of that width over n rows; the last one reaches back to end at n.

    All blocks have one width (a multiple of 64, so that BLAS treats every column alike): equal gallery vectors
    then get equal scores wherever they stand.
    """
    count = -(-n // most)
    width = -(-n // count // 64) * 64
    return width, [max(0, min(i * width, n - width)) for i in range(count)]


def _first_floor(scores: np.ndarray, c: int) -> np.ndarray:
    """Return what at least c scores of each row exceed; without it all of the first block would be hits.

    The c-th largest maximum over groups of columns is no larger than the c-th largest score, and found sooner.
    """
    height, width = scores.shape
    if c <= width // 16:
        scores = scores.reshape(height, 16, -1).max(axis=1)
    elif c > width:
        return np.full(height, -np.inf, np.float32)
    at = scores.shape[1] - c
    return np.nextafter(np.partition(scores, at, axis=1)[:, at], np.float32(-np.inf))


def _above(scores: np.ndarray, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of the scores above each row's floor, row by row.

    A maximum is quicker than a comparison that is written down, and most pieces of a row hold no hit.
    """
    pieces = scores.reshape(len(scores) * PIECES, -1)
    length = pieces.shape[1]
    near = np.flatnonzero(pieces.max(axis=1) > np.repeat(floor, PIECES))
    row = near // PIECES
    piece, column = np.divmod(np.flatnonzero(pieces[near] > floor[row, None]), length)
    return row[piece], near[piece] % PIECES * length + column


def _merge(best: np.ndarray, floor: np.ndarray, scores: np.ndarray, start: int) -> None:
    """Put the scores above each row's floor among its best, and raise the floors; in place."""
    height, c = best.shape
    row, column = _above(scores, floor)
    if not len(row):
        return
    counts = np.bincount(row, minlength=height)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    merged = np.full((height, c + counts.max()), np.iinfo(np.int64).min)
    merged[:, :c] = best
    merged[row, c + place] = _keys(scores[row, column], column + start)
    best[:] = np.partition(merged, merged.shape[1] - c, axis=1)[:, -c:]
    floor[:] = np.maximum(floor, _scores(best.min(axis=1)))


def _keys(scores: Any, ids: Any) -> Any:
    """Return int64 keys that rise with the score, and among equal scores fall with the id (below 2**32)."""
    bits = np.asarray(scores + np.float32(0.0)).view(np.int32)  # + 0 makes −0 equal to 0
    rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (rising.astype(np.int64) << 32) | (0xFFFFFFFF - ids)


def _scores(keys: np.ndarray) -> np.ndarray:
    """Return the scores of keys."""
    rising = (keys >> 32).astype(np.int32)
    return (rising ^ ((rising >> 31) & 0x7FFFFFFF)).view(np.float32)


def _bad_rows(block: np.ndarray, start: int, gallery: _Part) -> str:
    bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
    if len(bad):
        return f"gallery row {gallery.id(start + int(bad[0]))} holds NaN or infinity"
    return f"gallery rows from {gallery.id(start)} overflow"
