"""What a projected space is asked: zero-shot classes, maps of where a text is in a picture, retrieval by variant."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from isthmus.core.errors import BadInput
from isthmus.metrics.retrieval import per_query, retrieval_ranks
from isthmus.metrics.vectors import matrix, pair, unit

__all__ = ["Classifier", "length_bins", "mean_iou", "retrieval_by", "segment", "zero_shot"]

Embed = Callable[[list[str]], Any]


@dataclass(frozen=True)
class Classifier:
    """Zero-shot classes: `names` and their unit `weights` (c, d) in the space."""

    names: tuple[str, ...]
    weights: Float[np.ndarray, "c d"]

    def scores(self, x: Any) -> Float[np.ndarray, "n c"]:
        """Return the cosine of each item with each class."""
        x, weights = pair(x, self.weights, ("x", "classes"))
        return np.asarray(unit(x) @ weights.T)

    def predict(self, x: Any) -> Int[np.ndarray, " n"]:
        """Return the index of the nearest class of each item."""
        return np.asarray(self.scores(x).argmax(1))

    def accuracy(self, x: Any, labels: Any) -> dict[str, float]:
        """Return "accuracy" over items and "mean_per_class" over the classes that occur, in [0, 1]."""
        labels = np.asarray(labels)
        right = self.predict(x) == labels
        return {
            "accuracy": float(right.mean()),
            "mean_per_class": float(np.mean([right[labels == c].mean() for c in np.unique(labels)])),
        }


def zero_shot(
    embed: Embed,
    classes: Sequence[str],
    *,
    templates: Sequence[str] = ("{}",),
    descriptions: Mapping[str, Sequence[str]] | None = None,
) -> Classifier:
    """Build classes from their names: the unit mean of the unit vectors of every sentence of a class.

    Each class gives one sentence a template (``"a photo of a {}"``). With `descriptions` (the paper's VDT
    variant) a class that has some gives, for each template and description, ``"name, description"`` instead.
    `embed` maps a list of texts to (n, d) vectors in the space.

    Relations: one template, no description → the vector of that sentence.
    """
    if not classes or not templates or any("{}" not in t for t in templates):
        raise BadInput(f"zero_shot needs classes, and templates with {{}} in them; got {len(classes)}, {templates}")
    sentences = [
        [t.format(f"{name}, {d}" if d else name) for t in templates for d in (descriptions or {}).get(name) or ("",)]
        for name in classes
    ]
    vectors = unit(matrix(embed([s for own in sentences for s in own]), "class texts"), "class texts")
    ends = np.cumsum([len(own) for own in sentences])
    means = np.stack([part.mean(0) for part in np.split(vectors, ends[:-1])])
    return Classifier(tuple(classes), unit(means, "class means"))


def segment(
    patches: Any, classes: Any, *, grid: tuple[int, int], size: tuple[int, int] | None = None
) -> tuple[Int[np.ndarray, "n h w"], Float[np.ndarray, "n h w c"]]:
    """Return (labels, scores): which class each place of a picture is most like, from adapted patch tokens.

    `patches` (n, p, d) run row by row over `grid` = (rows, columns), without CLS and register tokens; `classes`
    is (c, d). Scores are cosines; with `size` they are interpolated bilinearly before the label is taken.
    """
    patches, classes = np.asarray(patches), matrix(classes, "classes")
    if patches.ndim != 3 or patches.shape[1] != grid[0] * grid[1] or patches.shape[2] != classes.shape[1]:
        raise BadInput(
            f"patches have shape {patches.shape}; expected (n, {grid[0]}·{grid[1]}, {classes.shape[1]}): "
            f"leave out CLS and register tokens"
        )
    flat = unit(matrix(patches.reshape(-1, patches.shape[2]), "patches"), "patches")
    scores = (flat @ unit(classes, "classes").T).reshape(len(patches), *grid, len(classes))
    if size is not None:
        scores = _along(_along(scores, 1, size[0]), 2, size[1])
    return scores.argmax(-1), scores


def _along(x: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Interpolate linearly along an axis, pixel centres aligned (what image resizing does)."""
    old = x.shape[axis]
    place = ((np.arange(size) + 0.5) * old / size - 0.5).clip(0, old - 1)
    low = np.minimum(place.astype(int), max(old - 2, 0))
    part = (place - low).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    high = np.minimum(low + 1, old - 1)
    return np.asarray(np.take(x, low, axis) * (1 - part) + np.take(x, high, axis) * part)


def mean_iou(labels: Any, truth: Any, *, classes: int, valid: Bool[np.ndarray, "n h w"] | None = None) -> float:
    """Return intersection over union, averaged over the classes that occur in either map; `valid` masks pixels."""
    labels, truth = np.asarray(labels), np.asarray(truth)
    if labels.shape != truth.shape:
        raise BadInput(f"labels {labels.shape} and truth {truth.shape} need one shape")
    keep = np.ones(labels.shape, bool) if valid is None else valid
    both = [((labels == c) & keep, (truth == c) & keep) for c in range(classes)]
    ious = [float((a & b).sum() / (a | b).sum()) for a, b in both if (a | b).any()]
    if not ious:
        raise BadInput("no pixel holds any of the classes")
    return float(np.mean(ious))


def retrieval_by(
    queries: Any, gallery: Any, query_keys: Any, gallery_keys: Any, variants: Any
) -> dict[str, dict[str, float]]:
    """Return the retrieval figures of each variant of the queries: a language, a length bin, a style.

    Every query searches the whole gallery by cosine. Each variant has "n" and the figures of
    `isthmus.metrics.retrieval.per_query`. A space trained on one language and asked in others is the paper's
    cross-lingual test; variants from `length_bins` are its long-text test.
    """
    queries, gallery = pair(queries, gallery, ("queries", "gallery"))
    variants = np.asarray(variants, dtype=str)
    if variants.shape != (len(queries),):
        raise BadInput(f"variants have shape {variants.shape}; expected ({len(queries)},)")
    figures = per_query(retrieval_ranks(unit(queries), unit(gallery), query_keys, gallery_keys))
    rows = {v: variants == v for v in np.unique(variants).tolist()}
    return {v: {"n": float(r.sum()), **{k: float(x[r].mean()) for k, x in figures.items()}} for v, r in rows.items()}


def length_bins(texts: Sequence[str], edges: Sequence[int] = (16, 77)) -> list[str]:
    """Name the length bin of each text in words: "<16", "16-76", "≥77" for the default edges (77: CLIP's limit)."""
    if list(edges) != sorted(set(edges)) or not edges:
        raise BadInput(f"edges must rise, got {list(edges)}")
    middle = [f"{a}-{b - 1}" for a, b in itertools.pairwise(edges)]
    names = [f"<{edges[0]}", *middle, f"≥{edges[-1]}"]
    return [names[int(np.searchsorted(edges, len(t.split()), side="right"))] for t in texts]
