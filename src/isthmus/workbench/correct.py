"""Corrections of hubs where a store and a space are at hand, or nothing but score matrices.

The banks are the items that the space was trained on, as its card names them, and never the queries that are
measured. Settings are chosen on items that the space was *not* trained on, because on its training items every space
looks faultless; where nothing helps there, nothing is corrected.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from isthmus.core import catalog
from isthmus.core.errors import BadInput, NotFound
from isthmus.metrics.retrieval import ScoreBlocks, rank_positives, tie_width
from isthmus.metrics.summary import summary
from isthmus.metrics.vectors import matrix
from isthmus.parts.correctors import Corrector, Fold, Tuned, tune
from isthmus.parts.hubness import subsample
from isthmus.space import Space
from isthmus.store.rows import Vectors
from isthmus.workbench.align import typed_settings
from isthmus.workbench.sides import Side, variant_rows

__all__ = [
    "Direction",
    "Items",
    "Piece",
    "bank_rows",
    "correct_scores",
    "corrections",
    "corrector",
    "cross_fitted",
    "trained_keys",
    "untrained",
]

ENOUGH = 20
"""Items to choose settings on, at least."""
VALIDATION = 2000
"""Queries and candidates to choose settings on, at most."""


@dataclass(frozen=True)
class Items:
    """Records in a space: vectors `x` (n, d), and the `keys` and near-duplicate `groups` (n,) of their items."""

    x: Float[np.ndarray, "n d"]
    keys: np.ndarray
    groups: np.ndarray

    @classmethod
    def of(cls, *sides: tuple[Vectors, np.ndarray]) -> "Items":
        """Return the records of one modality or of several together, each with its vectors in the space."""
        x = [each for _, each in sides]
        keys, groups = ([getattr(vectors, name) for vectors, _ in sides] for name in ("keys", "groups"))
        return cls(np.concatenate(x), np.concatenate(keys), np.concatenate(groups))

    def take(self, rows: np.ndarray) -> "Items":
        """Return some of the records."""
        return Items(self.x[rows], self.keys[rows], self.groups[rows])


def corrector(name: str) -> tuple[str, type[Corrector]]:
    """Return the word and the class that serve `correct` under a name (`isthmus methods`, `parts.correctors`)."""
    served = catalog.serving("correct")
    word = name.replace("-", "_")
    if word not in served:
        raise NotFound.named("correction", name, served)
    module, attribute = served[word]
    cls: type[Corrector] = getattr(catalog.imported(module, f"the correction {word}"), attribute)
    return word, cls


def trained_keys(space: Space) -> frozenset[str]:
    """Return the keys of the items that a space was trained on.

    Raises `BadInput` for a space whose card does not name them, as those of isthmus 0.1 and of elsewhere.
    """
    training = space.card.get("training", {})
    keys = training.get("keys")
    if keys is None and ("parts" in training or not training):
        raise BadInput(
            "a correction takes its banks from the items that a space was trained on, and none of this store were: "
            "make a space of this store with `isthmus align`, or search without a correction"
        )
    if keys is None:
        raise BadInput(
            "the card of this space does not name the items it was trained on, and a correction takes its banks from "
            "them: make the space again with `isthmus align`"
        )
    return frozenset(keys)


def bank_rows(items: Items, trained: Collection[str], measured: Collection[str] = ()) -> Int[np.ndarray, " m"]:
    """Return the rows that may be a bank: trained on, and no near-duplicates of what is measured.

    Raises `BadInput` when they are not of two groups at least.
    """
    taken = items.groups[np.isin(items.keys, list(measured))]
    rows = np.flatnonzero(np.isin(items.keys, list(trained)) & ~np.isin(items.groups, taken))
    if len(set(items.groups[rows].tolist())) < 2:
        raise BadInput(
            f"{len(rows)} records of the items that the space was trained on are left for a bank: the store does not "
            f"hold them, or all of them are being measured; measure other items (`keys`)"
        )
    return rows


# ------------------------------------------------------------------ measuring


@dataclass(frozen=True)
class Piece:
    """Some queries of one variant of a direction with their corrected scores.

    `rows` are those of the asking side and `offered` those of the other one; `before` and `after` give the plain and
    the corrected scores (b, n) of a slice of `rows`.
    """

    variant: str
    rows: Int[np.ndarray, " q"]
    offered: Int[np.ndarray, " n"]
    before: ScoreBlocks
    after: ScoreBlocks
    tie: float
    """Scores closer than this are equal but for rounding."""


@dataclass(frozen=True)
class Direction:
    """One direction, corrected: its `pieces`, what was `chosen` on each half, the records of either side, the banks."""

    pieces: list[Piece]
    chosen: list[Tuned]
    asking: Vectors
    offered: Vectors
    banks: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return how the direction was corrected, as JSON values."""
        return {"chosen": [each.to_json() for each in self.chosen], **self.banks}


def untrained(space: Space, sides: Mapping[str, Side]) -> set[str]:
    """Return the keys that all sides have and the space was not trained on; of these, those held out, if any were."""
    shared = set.intersection(*(set(vectors.keys.tolist()) for vectors, _ in sides.values()))
    held = space.card.get("training", {}).get("held_out")
    return shared - trained_keys(space) if held is None else shared & set(held)


def cross_fitted(
    name: str, space: Space, sides: Mapping[str, Side], asking: str, offered: str, measured: Collection[str]
) -> Direction:
    """Correct every query of a direction with settings that were chosen on other queries.

    `sides` hold all records of both modalities, banks among them; queries and candidates are those of `measured`.
    The items are halved by a hash of their near-duplicate group. For each half, the settings of the correction `name`
    are chosen on its queries, of all variants together, and applied to the queries of the other half. A variant has
    its own banks where the training items have it.

    Raises `NotFound` for an unknown correction, `BadInput` for a space that does not name its training items, when
    these are not in the store, and when a half has no query.
    """
    word, cls = corrector(name)
    if cls.transductive:
        raise BadInput(f"--correct {name} cannot be applied to queries one by one: {cls.why}")
    trained = trained_keys(space)
    items = [Items.of(sides[m]) for m in (asking, offered)]
    of = [np.flatnonzero(np.isin(each.keys, list(measured))) for each in items]
    banks = [bank_rows(each, trained, measured) for each in items]
    records = [sides[m][0].take(rows) for m, rows in zip((asking, offered), of, strict=True)]
    in_banks = variant_rows(*(sides[m][0].take(rows) for m, rows in zip((asking, offered), banks, strict=True)))
    half = np.array([_half(group) for group in records[0].groups.tolist()])
    folds: list[dict[str, tuple[np.ndarray, np.ndarray, Fold]]] = [{}, {}]
    for variant, (i, j) in variant_rows(*records).items():
        shared = i[np.isin(records[0].keys[i], records[1].keys[j])]
        a, b = in_banks.get(variant, (np.arange(len(banks[0])), np.arange(len(banks[1]))))
        for number in range(2):
            rows = shared[half[shared] == number]
            if len(rows):
                queries, gallery = items[0].take(of[0][rows]), items[1].take(of[1][j])
                fold = _fold(queries, gallery, items[0].take(banks[0][a]), items[1].take(banks[1][b]))
                folds[number][variant] = (rows, j, fold)
    if not all(folds):
        raise BadInput(f"{len(half)} queries are too few to choose the settings of {name!r} on half of them")
    chosen = [tune({word: cls}, [_small(fold) for _, _, fold in folds[1 - number].values()]) for number in range(2)]
    pieces = [
        Piece(variant, rows, columns, _plain(fold), fold.scores(chosen[number].corrector), _tie(fold))
        for number in range(2)
        for variant, (rows, columns, fold) in folds[number].items()
    ]
    sizes = {"query_bank": len(banks[0]), "gallery_bank": len(banks[1])}
    return Direction(pieces, chosen, records[0], records[1], sizes)


def _half(group: str) -> int:
    return hashlib.sha256(f"isthmus-half:{group}".encode()).digest()[0] % 2


def _plain(fold: Fold) -> ScoreBlocks:
    return lambda rows: fold.queries[rows] @ fold.gallery.T


def _tie(fold: Fold) -> float:
    return float(tie_width(fold.queries, fold.gallery).max())


def _fold(asking: Items, offered: Items, query_bank: Items, gallery_bank: Items) -> Fold:
    return Fold(
        queries=asking.x,
        gallery=offered.x,
        query_keys=asking.keys,
        gallery_keys=offered.keys,
        query_bank=query_bank.x,
        gallery_bank=gallery_bank.x,
        groups=(query_bank.groups, gallery_bank.groups, offered.groups),
    )


def _small(fold: Fold) -> Fold:
    """Return a fold with few enough queries and candidates to try many settings on; every query keeps a positive."""
    if len(fold.queries) <= VALIDATION and len(fold.gallery) <= VALIDATION:
        return fold
    rows = subsample(len(fold.queries), VALIDATION, 0)
    wanted = np.isin(fold.gallery_keys, fold.query_keys[rows])
    others = np.flatnonzero(~wanted)
    room = max(0, VALIDATION - int(wanted.sum()))
    kept = np.sort(np.r_[np.flatnonzero(wanted), others[subsample(len(others), room, 0)] if room else others[:0]])
    groups = None if fold.groups is None else (*fold.groups[:2], fold.groups[2][kept])
    return Fold(
        queries=fold.queries[rows],
        gallery=fold.gallery[kept],
        query_keys=fold.query_keys[rows],
        gallery_keys=fold.gallery_keys[kept],
        query_bank=fold.query_bank,
        gallery_bank=fold.gallery_bank,
        groups=groups,
    )


# ------------------------------------------------------------------ an index


def corrections(
    name: str, sides: Mapping[str, Items], wanted: Mapping[str, Items], trained: Collection[str]
) -> tuple[dict[str, Float[np.ndarray, " n"]], dict[str, Any]]:
    """Return the bias of every item of `wanted` {modality: items}, and how it was chosen, for `Index.build`.

    `sides` are all modalities of the store that the space maps, with all their records: who asks for an item of one
    modality are the records of the others. Its query bank is their training records, its gallery bank its own ones;
    an item is never judged by its own near-duplicates. Settings are chosen on the items that the space was not
    trained on, or on its own training items where there are fewer than 20 others, which the record says.

    Raises `NotFound` for an unknown correction, `BadInput` for one that is not a number an item, and without a second
    modality or training items.
    """
    word, cls = corrector(name)
    if not cls.per_item:
        raise BadInput(f"--correct {name} cannot be put into an index: {cls.why}; `isthmus evaluate` takes it")
    biases: dict[str, Float[np.ndarray, " n"]] = {}
    record: dict[str, Any] = {}
    for modality, listed in wanted.items():
        asking = [side for m, side in sides.items() if m != modality]
        if not asking:
            raise BadInput(f"{modality} is the only modality of the store in the space: who would ask for it?")
        everyone = Items(*(np.concatenate([getattr(a, f) for a in asking]) for f in ("x", "keys", "groups")))
        offered = sides[modality]
        banks = everyone.take(bank_rows(everyone, trained)), offered.take(bank_rows(offered, trained))
        fold, known = _validation(everyone, offered, banks, trained)
        chosen = tune({word: cls}, [_small(fold)])
        chosen.corrector.fit(banks[0].x, banks[1].x, groups=(banks[0].groups, banks[1].groups))
        if chosen.name != "none":
            biases[modality] = chosen.corrector.bias(listed.x, groups=listed.groups)
        record[modality] = {
            "asked": word,
            **chosen.to_json(),
            "query_bank": min(chosen.corrector.bank, len(banks[0].x)),
            "gallery_bank": min(chosen.corrector.bank, len(banks[1].x)),
            "validation_items": len(set(fold.query_keys.tolist())),
            "validation_in_training": known,
        }
    return biases, record


def _validation(
    asking: Items, offered: Items, banks: tuple[Items, Items], trained: Collection[str]
) -> tuple[Fold, bool]:
    """Return the fold of the items that the space was not trained on, or of all when these are too few, and which."""
    for known in (False, True):
        new = [np.full(len(each.x), known) | ~np.isin(each.keys, list(trained)) for each in (asking, offered)]
        shared = set(asking.keys[new[0]].tolist()) & set(offered.keys[new[1]].tolist())
        if known or len(shared) >= ENOUGH:
            rows = np.flatnonzero(new[0] & np.isin(asking.keys, list(shared)))
            return _fold(asking.take(rows), offered.take(np.flatnonzero(new[1])), *banks), known
    raise AssertionError


# ------------------------------------------------------------------ scores alone


def correct_scores(
    scores: Any,
    query_bank: Any = None,
    gallery_bank: Any = None,
    *,
    name: str = "dual_is",
    settings: Mapping[str, Any] | None = None,
    query_keys: Any = None,
    gallery_keys: Any = None,
) -> tuple[Float[np.ndarray, "q n"], dict[str, Any]]:
    """Correct a score matrix with those of its banks, and say what changed.

    `scores` (q, n) are of queries against a gallery, `query_bank` (m, n) of training queries and `gallery_bank`
    (p, n) of training items against the same gallery. `settings` are the correction's, with its defaults: there is
    no validation set here to choose them on. Give the transposed scores and their own banks for the other direction.

    Returns the corrected scores and a record of the settings, the figures of hubs before and after
    (`workbench.hubs.hub_figures`), and with keys the retrieval figures too (`metrics.summary`).

    Raises `NotFound` for an unknown correction or setting, `BadInput` for matrices that do not fit or a bank that
    the correction needs.
    """
    from isthmus.workbench.hubs import hub_figures

    word, cls = corrector(name)
    if drawn := sorted({"bank", "seed"} & set(settings or {})):
        raise BadInput(f"{drawn[0]} draws entries of a bank of vectors; the scores of a bank are taken as they are")
    model = cls(**typed_settings(cls, settings or {}))
    table = matrix(scores, "scores")
    found = model.correct(table, query_bank, gallery_bank)
    settings = {k: v for k, v in model.get_params().items() if k not in ("bank", "seed")}  # banks are as they are given
    record: dict[str, Any] = {"name": word, "settings": settings}
    record["hubs"] = {"before": hub_figures(table), "after": hub_figures(found)}
    if query_keys is not None and gallery_keys is not None:
        record["figures"] = {
            when: summary(rank_positives(each, query_keys, gallery_keys))
            for when, each in (("before", table), ("after", found))
        }
    return found, record
