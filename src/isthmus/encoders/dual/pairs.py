"""What the dual encoder learns from: pictures and texts by item, and batches of them that depend on a seed and a step.

Nothing is drawn from a generator that moves on: step k of seed s gives the same batch whenever it is asked for, which
is what makes a training resumable, and every process of several can make its own part of it.
"""

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from isthmus.core.errors import BadInput, IsthmusError
from isthmus.core.progress import Progress, silent
from isthmus.data.records import DataSet, Record, joined
from isthmus.data.splits import holdout
from isthmus.encoders.dual.model import normalised, square

__all__ = ["Drawn", "Order", "Pairs", "augment", "gather", "split", "words"]

KEYWORDS = "-x-"
"""What stands in the variant of a text that lists keywords, between language and kind."""
SIDED = re.compile(r"\b(left|right|clockwise|anticlockwise|counterclockwise|east|west)\w*\b")
"""Words that are no longer true of a picture in the mirror."""


@dataclass(frozen=True)
class Pairs:
    """Pictures (p, s, s, 3) and texts, each with the number of its item; an item has at least one of both.

    `group` (n,) numbers the near-duplicates among items, `domain` (n,) the data set that an item comes from (several
    that share keys are one), `mirrors` (n,) says whether its pictures may be mirrored. `english` and `lists` (t,) say
    which texts are English and which list keywords.
    """

    pictures: UInt8[np.ndarray, "p s s 3"]
    picture_item: Int[np.ndarray, " p"]
    texts: tuple[str, ...]
    text_item: Int[np.ndarray, " t"]
    english: Bool[np.ndarray, " t"]
    lists: Bool[np.ndarray, " t"]
    group: Int[np.ndarray, " n"]
    domain: Int[np.ndarray, " n"]
    mirrors: Bool[np.ndarray, " n"]

    @property
    def n(self) -> int:
        """Number of items."""
        return len(self.group)

    def digest(self) -> str:
        """Return the SHA-256 of everything."""
        sha = hashlib.sha256("\0".join(self.texts).encode())
        for x in (self.pictures, self.picture_item, self.text_item, self.lists, self.group, self.domain, self.mirrors):
            sha.update(np.ascontiguousarray(x).tobytes())
        return sha.hexdigest()

    def rows(self) -> tuple[list[Int[np.ndarray, " k"]], list[Int[np.ndarray, " k"]], list[Int[np.ndarray, " k"]]]:
        """Return, item by item, its pictures, its English texts (all when it has none), and its other texts."""
        texts = _by_item(self.text_item, self.n)
        english = [own[self.english[own]] for own in texts]
        others = [own[~self.english[own]] for own in texts]
        first = [e if len(e) else o for e, o in zip(english, others, strict=True)]
        second = [o if len(o) else e for e, o in zip(english, others, strict=True)]
        return _by_item(self.picture_item, self.n), first, second


def split(sets: Sequence[DataSet], *, hold_out: int, number: int = 0) -> tuple[set[str], set[str]]:
    """Return the keys of `hold_out` items of the first data set, and all keys that must not be trained on.

    Beside the held-out items these are their near-duplicates by the rule of any of the data sets, whichever data set
    they come from: the same emoji by another artist is no new item.
    """
    if hold_out == 0:
        return set(), set()
    pairs = {(r.key, r.group) for r in sets[0].records if r.modality in ("image", "text")}
    found = holdout([k for k, _ in sorted(pairs)], [g for _, g in sorted(pairs)], split=number, n=hold_out)
    keys = dict.fromkeys(r.key for one in sets for r in one.records)
    groups: dict[tuple[int, str], list[str]] = {}
    for i, one in enumerate(sets):
        for r in one.records:
            groups.setdefault((i, r.group), []).append(r.key)
    alike = joined(keys, groups.values())
    held = {alike[key] for key in found.test}
    return set(found.test), {key for key in keys if alike[key] in held}


def gather(
    sets: Sequence[DataSet],
    *,
    side: int,
    languages: Collection[str],
    without: Collection[str] = (),
    progress: Progress = silent,
) -> Pairs:
    """Return all items of data sets that have a picture and a text in one of `languages`, drawn side × side.

    Items of different data sets with the same key are one. Texts without a language count as English. Pictures that
    cannot be read are left out.

    Raises `BadInput` when fewer than two items are left.
    """
    without = set(without)
    used = [
        [r for r in one.records if r.key not in without and (r.modality == "image" or _speaks(r, languages))]
        for one in sets
    ]
    shown, said = ({r.key for own in used for r in own if r.modality == m} for m in ("image", "text"))
    keys = sorted(shown & said)
    number = {key: i for i, key in enumerate(keys)}
    images = [r for own in used for r in own if r.modality == "image" and r.key in number]
    texts = [r for own in used for r in own if r.modality == "text" and r.key in number]
    pictures, picture_item = [], []
    for done, r in enumerate(images):
        try:
            pictures.append(square(r.load(), side))
            picture_item.append(number[r.key])
        except IsthmusError:
            continue
        finally:
            progress("read", done + 1, len(images))
    if len(set(picture_item)) < 2:
        names = ", ".join(one.name for one in sets)
        raise BadInput(
            f"{names}: {len(set(picture_item))} items have a picture and a text in {', '.join(sorted(languages))}; at "
            "least 2 are needed to learn from"
        )
    contents = [str(r.load()) for r in texts]
    groups: dict[tuple[int, str], list[str]] = {}
    for i, own in enumerate(used):
        for r in own:
            if r.key in number:
                groups.setdefault((i, r.group), []).append(r.key)
    alike = joined(keys, groups.values())
    text_item = np.array([number[r.key] for r in texts])
    mirrors = np.ones(len(keys), bool)
    sided = [bool(SIDED.search(text.lower())) for text in contents]
    mirrors[text_item[np.array(sided, bool)]] = False
    return Pairs(
        pictures=np.stack(pictures),
        picture_item=np.array(picture_item),
        texts=tuple(contents),
        text_item=text_item,
        english=np.array([r.variant.partition("-")[0] in ("en", "") for r in texts]),
        lists=np.array([KEYWORDS in r.variant for r in texts]),
        group=np.unique([number[alike[key]] for key in keys], return_inverse=True)[1],
        domain=_domains([{r.key for r in own} for own in used], keys),
        mirrors=mirrors,
    )


def _speaks(record: Record, languages: Collection[str]) -> bool:
    return record.modality == "text" and record.variant.partition("-")[0] in {*languages, ""}


def _domains(held: Sequence[Collection[str]], keys: Sequence[str]) -> Int[np.ndarray, " n"]:
    """Number the data sets; those that share keys get one number."""
    first = joined(
        map(str, range(len(held))),
        [[str(i), str(j)] for i in range(len(held)) for j in range(i) if set(held[i]) & set(held[j])],
    )
    owner = {key: int(first[str(i)]) for i, own in enumerate(held) for key in own}
    return np.unique([owner[key] for key in keys], return_inverse=True)[1]


def _by_item(item: Int[np.ndarray, " r"], n: int) -> list[Int[np.ndarray, " k"]]:
    order = np.argsort(item, kind="stable")
    return np.split(order, np.searchsorted(item[order], np.arange(1, n)))


@dataclass(frozen=True)
class Order:
    """The batches of a training: for every step its number and `size` items of one domain, or all that it has.

    A domain is drawn in proportion to its items to the power of `balance`; its items come in a new order every epoch,
    of which the last short batch is dropped.
    """

    domain: Int[np.ndarray, " n"]
    size: int
    steps: int
    seed: int
    balance: float = 0.0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[tuple[int, Int[np.ndarray, " b"]]]:
        rng = np.random.default_rng((self.seed, 0))
        rows = [np.flatnonzero(self.domain == d) for d in np.unique(self.domain)]
        share = np.array([len(own) for own in rows], float) ** self.balance
        left = [np.empty(0, int) for _ in rows]
        for step in range(self.steps):
            d = int(rng.choice(len(rows), p=share / share.sum()))
            size = min(self.size, len(rows[d]))
            if len(left[d]) < size:
                left[d] = rng.permutation(rows[d])
            yield step, left[d][:size]
            left[d] = left[d][size:]


def words(text: str, listed: bool, rng: np.random.Generator) -> str:
    """Return a text as it is, of a list of keywords some of them in any order."""
    if not listed:
        return text
    own = text.split(", ")
    return ", ".join(own[i] for i in rng.permutation(len(own))[: rng.integers(1, len(own) + 1)])


DRAWS = 11
"""Random numbers that a picture takes."""


def augment(
    pixels: UInt8[np.ndarray, "n s s 3"],
    mirrors: Bool[np.ndarray, " n"],
    draws: Float[np.ndarray, "n k"],
    *,
    strength: float,
) -> Float[Tensor, "n 3 s s"]:
    """Return pictures as the tower takes them, each turned, scaled, moved, mirrored, lightened and partly covered.

    Made for icons: colours keep their names and things stay upright, so that hue, saturation and large angles are left
    alone, and pictures are mirrored only where their text stays true. At full `strength` the angle is up to 15°, the
    scale 0.75 to 1.3, the shift a tenth of the side, contrast and brightness up to 20 %, and a third of the pictures
    lose a square of up to a quarter of the side. `draws` (n, 11) are uniform in [0, 1).

    Relations: strength 0 and no mirror → the picture itself.
    """
    n, side = len(pixels), pixels.shape[1]
    by = (2 * draws[:, :7] - 1).T * strength
    flip = np.where(mirrors & (draws[:, 9] < 0.5), -1.0, 1.0)
    angle, zoom = by[0] * np.pi / 12, np.exp(by[1] * 0.28)
    cos, sin = np.cos(angle) * zoom, np.sin(angle) * zoom
    theta = np.stack([np.stack([cos * flip, -sin, by[2] * 0.2], 1), np.stack([sin * flip, cos, by[3] * 0.2], 1)], 1)
    x = normalised(torch.from_numpy(pixels))
    grid = affine_grid(_tensor(theta), list(x.shape), align_corners=False)
    x = grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
    x = x * _tensor(1 + by[4] * 0.2).view(n, 1, 1, 1) + _tensor(by[5] * 0.2).view(n, 1, 1, 1)
    half = _tensor(np.where(draws[:, 10] < strength / 3, np.abs(by[6]) * side / 8, 0.0)).view(n, 1)
    place = torch.arange(side, dtype=torch.float32) + 0.5
    rows, columns = ((place - _tensor(draws[:, k] * side).view(n, 1)).abs() < half for k in (7, 8))
    return x.masked_fill(rows.view(n, 1, side, 1) & columns.view(n, 1, 1, side), 0.0)


def _tensor(x: np.ndarray) -> Tensor:
    return torch.from_numpy(x.astype(np.float32))


@dataclass(frozen=True)
class Drawn:
    """Batches of pairs: one augmented picture and one text an item; English with the chance `english`.

    What an item gets at a step depends on the seed, the step and its place in the batch alone, so that several
    processes that take a part each make the batch of one.
    """

    pairs: Pairs
    seed: int
    english: float
    strength: float

    @cached_property
    def _rows(self) -> tuple[list[Any], list[Any], list[Any]]:
        return self.pairs.rows()

    def __call__(
        self, step: int, items: Int[np.ndarray, " b"], part: slice = slice(None)
    ) -> tuple[Float[Tensor, "b 3 s s"], list[str]]:
        """Return the pictures and texts of a part of the items of a step."""
        images, first, second = self._rows
        places = np.arange(len(items))[part]
        rngs = [np.random.default_rng((self.seed, 1, step, int(place))) for place in places]
        draws = np.stack([rng.random(DRAWS + 3) for rng in rngs])
        picked, texts = [], []
        for i, rng, u in zip(items[part], rngs, draws[:, DRAWS:], strict=True):
            picked.append(images[i][int(u[0] * len(images[i]))])
            own = first[i] if u[1] < self.english else second[i]
            k = own[int(u[2] * len(own))]
            texts.append(words(self.pairs.texts[k], bool(self.pairs.lists[k]), rng))
        mirrors = self.pairs.mirrors[items[part]]
        return augment(self.pairs.pictures[picked], mirrors, draws[:, :DRAWS], strength=self.strength), texts
