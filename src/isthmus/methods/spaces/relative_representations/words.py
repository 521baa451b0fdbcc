"""A text encoder of one language that is fitted in a second: pieces of words, weighted, brought to few directions."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.parts.params import Params

__all__ = ["WordPieces"]


class WordPieces(Params):
    """Latent semantic analysis on the pieces of 2 to `longest` letters of words, and the words themselves.

    Counts are weighted by 1 + log(count) and by log((1 + n) / (1 + texts that have the piece)) + 1, rows get length 1;
    the `width` leading right singular vectors of the table of the fitted texts are the axes (Deerwester et al. 1990).
    Texts without a known piece become zeros.
    """

    def __init__(self, *, width: int = 128, longest: int = 4) -> None:
        self.width = width
        self.longest = longest

    def fit(self, texts: Sequence[str], y: Any = None) -> Self:
        """Fit on texts and return the encoder; `BadInput` for fewer than 2."""
        if len(texts) < 2:
            raise BadInput(f"{len(texts)} texts: at least 2 are needed")
        counted = [self._pieces(text) for text in texts]
        spread = Counter(piece for pieces in counted for piece in pieces)
        # a piece of one text alone says nothing of how texts go together
        known = sorted(piece for piece, n in spread.items() if n > 1)
        self.place_ = {piece: i for i, piece in enumerate(known)}
        self.rarity_ = np.log((1 + len(texts)) / (1 + np.array([spread[p] for p in known], dtype=float))) + 1
        table = self._table(counted)
        values, vectors = np.linalg.eigh((table @ table.T).toarray())
        kept = np.argsort(-values, kind="stable")[: self.width]
        kept = kept[values[kept] > 1e-9 * values.max()]
        self.axes_ = table.T @ vectors[:, kept] / np.sqrt(values[kept])
        return self

    def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """Return (n, width) float32, narrower where the fitted texts have fewer directions."""
        if not hasattr(self, "axes_"):
            raise BadInput("WordPieces is not fitted yet; call fit first")
        return np.asarray(self._table([self._pieces(text) for text in texts]) @ self.axes_, dtype=np.float32)

    def _pieces(self, text: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for word in text.lower().split():
            marked = f" {word} "
            found[marked] += 1
            for n in range(2, self.longest + 1):
                found.update(marked[i : i + n] for i in range(len(marked) - n + 1))
        return found

    def _table(self, counted: Sequence[Counter[str]]) -> Any:
        from scipy.sparse import csr_array

        rows: list[int] = []
        columns: list[int] = []
        values: list[float] = []
        for i, pieces in enumerate(counted):
            own = [(self.place_[p], 1 + np.log(n)) for p, n in pieces.items() if p in self.place_]
            weights = np.array([v * self.rarity_[j] for j, v in own])
            rows += [i] * len(own)
            columns += [j for j, _ in own]
            values += (weights / np.linalg.norm(weights)).tolist() if own else []
        return csr_array((values, (rows, columns)), shape=(len(counted), len(self.place_)))
