"""The default space: one for everybody's drawings, photographs, names and speech, trained on four data sets at once.

What a newcomer searches with before training anything. `build` embeds the data sets, holds items of each apart, fits
one space on the rest, and keeps it with the figures of what was held out; `workbench.spaces.default` returns it.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from isthmus import data
from isthmus.core.errors import BadInput, IsthmusError, MissingExtra, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.data import DataSet
from isthmus.data.records import joined
from isthmus.data.splits import holdout
from isthmus.encoders import available, named
from isthmus.metrics.vectors import unit
from isthmus.space import HEAD, Map, Space
from isthmus.store.rows import Vectors
from isthmus.store.store import Store
from isthmus.workbench.align import estimator
from isthmus.workbench.embed import embed
from isthmus.workbench.evaluate import Evaluation, evaluate
from isthmus.workbench.spaces import ENCODERS, default_folder, witnesses

__all__ = ["EMPHASIS", "PARTS", "SETTINGS", "Part", "World", "build"]


LANGUAGES = (
    "en",
    "es",
    "ja",
    "ko",
    "pt",
    "pt-BR",
    "it",
    "fr",
    "de",
    "fa",
    "id",
    "zh",
    "zh-CN",
    "zh-Hans",
    "ru",
    "tr",
    "ar",
    "bg",
    "ca",
    "ro",
    "be",
    "el",
    "da",
)
SPOKEN = ("be", "bg", "ca", "da", "el", "es", "fr", "ro", "ru")


@dataclass(frozen=True)
class Part:
    """What is taken of a data set, text and image among it: `variants` of a modality (all of one that is not named).

    `held` items that have a text and a picture are held apart.

    Data sets of one `domain` share their keys and are learned from together.
    """

    source: str
    domain: str
    modalities: tuple[str, ...]
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    held: int = 0


PARTS = (
    Part("openmoji", "emoji", ("text", "image"), held=300),
    Part("emoji_styles", "emoji", ("image",)),
    Part("tuxpaint", "tuxpaint", ("text", "image", "speech"), {"text": LANGUAGES, "speech": SPOKEN}, held=200),
    Part("openclipart", "openclipart", ("text", "image"), held=300),
)

EMPHASIS: Mapping[str, float] = {"emoji": 5.0, "tuxpaint": 5.0, "openclipart": 1.0}
"""How much more an item counts than one of openclipart, whose 7,000 drawings would drown the others."""
WEIGHTS: Mapping[str, float] = {"en": 8.0, "title": 2.0}
SETTINGS: Mapping[str, Any] = {
    "width": 384,
    "hidden": 4,
    "dropout": 0.4,
    "steps": 800,
    "batch": 1024,
    "lr": 1e-3,
}
"""Chosen, as the emphasis was, on items held out of the training parts: `benchmarks/default_space_settings.py`."""
ALIKE = 0.75
"""Cosine of standardised picture vectors from which on two pictures of different data sets count as the same: set by
looking at pairs."""


def build(
    *,
    home: Path | None = None,
    parts: Sequence[Part] = PARTS,
    encoders: Mapping[str, Any] = ENCODERS,
    settings: Mapping[str, Any] = SETTINGS,
    fresh: bool = False,
    seed: int = 0,
    device: str = "cpu",
    batch_size: int = 64,
    read: Callable[[str], DataSet] = data.load,
    progress: Progress = silent,
) -> Space:
    """Build the default space, or return it when it has been built of the same vectors with the same settings.

    Of each data set the items with the smallest hashes are held out (`data.splits.holdout`), with their near-duplicates
    and with every picture of another data set that looks like one of them: some drawings are in two collections.
    The card holds, beside the usual, ``figures``: {data set: {pair: what `evaluate` says of the held-out items}},
    ``kinds`` with the figures of drawings and photographs apart, and ``training`` with ``parts``
    {data set: {keys, held_out, content}}.

    It goes on where it stopped; `fresh` fits again. Raises, before any work, `MissingExtra` for encoders that are not
    installed and what `data.load` raises for data sets that are not there.
    """
    home = home or default_folder()
    for modality, name in encoders.items():
        if isinstance(name, str):
            known = named(name)
            if known is None:
                raise NotFound.named("encoder", name, available(), hint=f"for {modality}")
            if not known.installed:
                raise MissingExtra.of(known.package, known.extra, "the default space")
    if lacking := [p.source for p in parts if p.held and not {"text", "image"} <= {*p.modalities} & {*encoders}]:
        raise BadInput(
            f"items of {lacking[0]} are to be held out, which needs its texts and pictures, and encoders of both"
        )
    sources = {part.source: _taken(read, part, encoders) for part in parts}
    Space.claim(home / "space")
    stores = {
        part.source: embed(
            sources[part.source],
            encoders={m: encoders[m] for m in part.modalities if m in encoders},
            out=home / "stores" / part.source,
            device=device,
            batch_size=batch_size,
            progress=_named(progress, part.source),
        )
        for part in parts
    }
    world = World.of(stores, parts)
    held, trained = world.split(parts)
    inputs = _digest(stores, world.listed(parts, trained, held), settings, seed)
    if not fresh and (home / "space" / HEAD).exists():
        built = Space.load(home / "space")
        if built.card.get("inputs") == inputs:
            return built
    space = world.fit(trained, settings, seed, progress)
    figures, kinds = {}, {}
    for part in parts:
        if part.held:
            own = {key.partition("/")[2] for key in held[part.source]}
            pairs = [f"{a}:{b}" for a, b in combinations(part.modalities, 2) if {a, b} <= set(encoders)]
            found = {p: evaluate(stores[part.source], space=space, pair=p, keys=own, seed=seed) for p in pairs}
            figures[part.source] = {p: {k: e.to_json()[k] for k in ("directions", "mean")} for p, e in found.items()}
            kinds[part.source] = _by_kind(found, sources[part.source])
            progress("evaluate", len(figures), sum(bool(p.held) for p in parts))
    card = {
        **space.card,
        "inputs": inputs,
        "figures": figures,
        "kinds": {name: rows for name, rows in kinds.items() if rows},
    }
    listed = world.listed(parts, trained, held)
    card["training"] |= {"parts": {name: {**of, "content": witnesses(stores[name])} for name, of in listed.items()}}
    finished = Space(space.maps, card)
    finished.save(home / "space")
    return finished


@dataclass(frozen=True)
class World:
    """The vectors of all stores by modality, with keys and groups as ``domain/key``."""

    vectors: Mapping[str, Vectors]
    source: Mapping[str, np.ndarray]
    domain: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, stores: Mapping[str, Store], parts: Sequence[Part]) -> "World":
        """Return the vectors of the stores {data set: store}."""
        vectors, source, domain = {}, {}, {}
        for m in dict.fromkeys(m for part in parts for m in stores[part.source].modalities()):
            tables = [(part, stores[part.source].vectors(m)) for part in parts if m in stores[part.source].modalities()]
            for _, table in tables[1:]:
                tables[0][1].fingerprint.require(table.fingerprint, f"{m} vectors of another data set")
            vectors[m] = Vectors.of(
                np.concatenate([v.x for _, v in tables]),
                tables[0][1].fingerprint,
                keys=[f"{part.domain}/{key}" for part, v in tables for key in v.keys.tolist()],
                groups=np.array([f"{part.domain}/{group}" for part, v in tables for group in v.groups.tolist()]),
                variants=np.concatenate([v.variants for _, v in tables]),
            )
            source[m] = np.repeat([part.source for part, _ in tables], [len(v) for _, v in tables])
            domain[m] = np.repeat([part.domain for part, _ in tables], [len(v) for _, v in tables])
        return cls(vectors, source, domain)

    def keep(self, keys: Collection[str]) -> "World":
        """Return the records of some keys alone."""
        rows = {m: np.flatnonzero(np.isin(v.keys, sorted(keys))) for m, v in self.vectors.items()}
        return World(
            {m: v.take(rows[m]) for m, v in self.vectors.items()},
            {m: x[rows[m]] for m, x in self.source.items()},
            {m: x[rows[m]] for m, x in self.domain.items()},
        )

    def split(self, parts: Sequence[Part]) -> tuple[dict[str, set[str]], set[str]]:
        """Return the keys that are held out of each data set, and the keys that may be trained on."""
        everything = set[str]().union(*(v.keys.tolist() for v in self.vectors.values()))
        group = self._groups(everything)
        held: dict[str, set[str]] = {}
        for part in (p for p in parts if p.held):
            # of the other modalities, such as recordings, an item may have none
            tables = [self.vectors[m].keys[self.source[m] == part.source] for m in ("text", "image")]
            complete = set.intersection(*(set(keys.tolist()) for keys in tables))
            # the hash is that of the data set's own key, so that its own demo holds the same items out
            own = {key.partition("/")[2]: key for key in sorted(complete)}
            chosen = holdout(list(own), [group[key] for key in own.values()], split=0, n=part.held)
            held[part.source] = {own[key] for key in chosen.test}
        everybody = set[str]().union(*held.values())
        groups_held = {group[key] for key in everybody}
        apart = {key for key in everything if group[key] in groups_held}
        return held, everything - apart - self._lookalikes(everybody)

    def _groups(self, everything: set[str]) -> dict[str, str]:
        """Return {key: group} of near-duplicates as any data set of a domain sees them, directly or through others."""
        alike: dict[tuple[str, str, str], list[str]] = {}
        for m, v in self.vectors.items():
            rows = zip(self.source[m].tolist(), v.groups.tolist(), v.keys.tolist(), strict=True)
            for source, own, key in dict.fromkeys(rows):
                alike.setdefault((m, source, own), []).append(key)
        return joined(sorted(everything), alike.values())

    def _lookalikes(self, held: set[str]) -> set[str]:
        """Return the keys of pictures that look like a held-out picture of another domain."""
        pictures = self.vectors["image"]
        spread = pictures.x.std(0)
        z = unit((pictures.x - pictures.x.mean(0)) / (spread + 1e-3 * spread.mean()))
        asked = np.isin(pictures.keys, sorted(held))
        found: Bool[np.ndarray, " n"] = np.zeros(len(z), bool)
        for name in np.unique(self.domain["image"]):
            other = self.domain["image"] != name
            mine = z[asked & ~other]
            if len(mine):
                found[other] |= (z[other] @ mine.T).max(1) >= ALIKE
        return set(pictures.keys[found].tolist())

    def fit(
        self,
        trained: set[str],
        settings: Mapping[str, Any],
        seed: int = 0,
        progress: Progress = silent,
        *,
        emphasis: Mapping[str, float] = EMPHASIS,
    ) -> Space:
        """Fit one map a modality on the items that may be trained on."""
        model = estimator("projectors", settings)
        rows = {m: np.isin(v.keys, sorted(trained)) for m, v in self.vectors.items()}
        model.fit(
            {m: v.x[rows[m]] for m, v in self.vectors.items()},
            keys={m: v.keys[rows[m]] for m, v in self.vectors.items()},
            weights={m: _weights(v.variants[rows[m]]) for m, v in self.vectors.items()},
            domains={m: self.domain[m][rows[m]] for m in self.vectors},
            emphasis={name: emphasis.get(name, 1.0) for name in np.unique(self.domain["text"]).tolist()},
            seed=seed,
            progress=progress,
        )
        maps = {
            m: Map(steps=steps, tensors=tensors, fingerprint=self.vectors[m].fingerprint)
            for m, (steps, tensors) in model.maps().items()
        }
        records = {m: int(chosen.sum()) for m, chosen in rows.items()}
        training = {"source": {"name": "default"}, "items": len(trained), "records": records}
        return Space(
            maps, {"name": "default", "method": "projectors", "settings": dict(settings), "training": training}
        )

    def listed(
        self, parts: Sequence[Part], trained: set[str], held: Mapping[str, set[str]]
    ) -> dict[str, dict[str, list[str]]]:
        """Return {data set: {keys, held_out}}, the keys as the data set has them."""
        found = {}
        for part in parts:
            tables = [v.keys[self.source[m] == part.source].tolist() for m, v in self.vectors.items()]
            present = {key for keys in tables for key in keys}
            found[part.source] = {
                "keys": sorted(key.partition("/")[2] for key in present & trained),
                "held_out": sorted(key.partition("/")[2] for key in held.get(part.source, ())),
            }
        return found


def _taken(read: Callable[[str], DataSet], part: Part, encoders: Mapping[str, Any]) -> DataSet:
    """Return the records of a part; an error says which data set it was."""
    try:
        source = read(part.source)
    except IsthmusError as error:
        raise BadInput(f"the default space learns from {part.source}: {error}") from error
    return source.only([m for m in part.modalities if m in encoders], part.variants)


def _weights(variants: np.ndarray) -> Float[np.ndarray, " n"]:
    return np.array([WEIGHTS.get(name, 1.0) for name in variants.tolist()])


def _digest(stores: Mapping[str, Store], listed: Mapping[str, Any], settings: Mapping[str, Any], seed: int) -> str:
    """Return a digest of everything that the space depends on."""
    made = {
        "stores": {name: sorted(part["sha256"] for part in store.parts) for name, store in stores.items()},
        "parts": dict(listed),  # which items, so that another rule of what is held out makes another space
        "settings": {"emphasis": dict(EMPHASIS), "weights": dict(WEIGHTS), "alike": ALIKE, **settings},
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16]


def _by_kind(found: Mapping[str, Evaluation], source: DataSet) -> dict[str, dict[str, dict[str, float]]]:
    """Return {kind: {direction: figures}} of the first variant of text, where pictures are of several kinds."""
    kind = {r.key: r.meta["kind"] for r in source.of("image") if r.meta.get("kind")}
    kinds: dict[str, dict[str, dict[str, float]]] = {}
    for evaluation in found.values():
        for direction, variants in evaluation.queries.items():
            if "image" not in direction.split("_to_"):
                continue
            measured = variants["en" if "en" in variants else next(iter(variants))]
            of_query = np.array([kind.get(key, "") for key in measured.keys.tolist()])
            for name in sorted(set(of_query.tolist()) - {""}):
                rows = of_query == name
                kinds.setdefault(name, {})[direction] = {"n": int(rows.sum())} | {
                    m: float(measured.figures[m][rows].mean()) for m in ("r@1", "r@10")
                }
    return kinds


def _named(progress: Progress, source: str) -> Progress:
    return lambda stage, done, total: progress(f"{stage} {source}", done, total)
