"""`demo`: the whole loop on a real data set, with its figures and one page to look at."""

import json
import os
import platform
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np

import isthmus
from isthmus import data as sources
from isthmus.core.errors import BadInput
from isthmus.core.progress import Progress, silent
from isthmus.data import DataSet
from isthmus.data.splits import Split, holdout
from isthmus.encoders import load as load_encoder
from isthmus.encoders import wrap
from isthmus.space import Space
from isthmus.store.disk import atomic
from isthmus.store.manifest import MANIFEST
from isthmus.store.store import Store
from isthmus.workbench.align import align
from isthmus.workbench.diagnose import diagnose
from isthmus.workbench.embed import embed
from isthmus.workbench.evaluate import Measured, evaluate
from isthmus.workbench.hubs import hub_report
from isthmus.workbench.report_page import render
from isthmus.workbench.report_page.gather import METRICS, page_of
from isthmus.workbench.search import build_index
from isthmus.workbench.spaces import ENCODERS

__all__ = ["HELD_OUT", "demo", "headline", "next_commands"]

"""The bundled encoder of each modality; the first modality asks in the headline."""
HELD_OUT = 300
"""Items held out of each split, or a fifth of a smaller source."""

HUBS_FROM = 40
"""Held-out items from which on a correction of hubs is shown: its settings are chosen on each half of them."""

WEIGHTS: Mapping[str, float] = {"en": 8.0}
"""English names are drawn eight times as often: on validation concepts +0.5 points of English R@1 over four times, and
−0.3 points of R@10 in the mean of the languages."""

RESULTS = ("metrics.json", "report.html")
SUMS = ("raw_encoder", "total")
"""Entries of `seconds` that are sums of others."""

Figures = dict[str, Any]


def demo(
    data: str | Path | DataSet = "openmoji",
    *,
    out: str | Path,
    splits: int = 1,
    encoders: Mapping[str, Any] = ENCODERS,
    method: str = "projectors",
    settings: Mapping[str, Any] | None = None,
    weights: Mapping[str, float] = WEIGHTS,
    seed: int = 0,
    device: str = "cpu",
    batch_size: int = 64,
    progress: Progress = silent,
) -> Figures:
    """Embed a source, align, index, evaluate and diagnose it; write all of it under `out` and return the figures.

    Of a data set it takes what its card names for the demo (of tuxpaint ten languages, nine of them spoken).

    Leaves ``store``, ``space``, ``index``, ``metrics.json`` and ``report.html`` in `out`. Split k holds out the 300
    items with the smallest SHA-256 of ``isthmus-{k}:{key}`` (a fifth of a source with fewer than 1,500), and trains
    a space of its own on the others, near-duplicates of the held-out ones left out. The space and the page are those of
    split 0; ``over_splits`` holds the means. The index holds every item of the source, so that searching it is
    useful; what is measured is measured among the held-out items alone. `method`, `settings` and `weights` are those of
    `align`.

    A second call takes the vectors from the store and makes everything else again. ``seconds.encoders`` is the time
    spent inside the encoders in this call, by modality: that of what was not in the store already.

    Raises `BadInput` before any work when the source has fewer than two modalities with an encoder, or fewer than
    ten items that have all of them, when the store in `out` was filled by other encoders, or when `out` holds files
    under the names of ours without a store.
    """
    if splits < 1:
        raise BadInput(f"splits = {splits}; expected at least 1")
    out, clock = Path(out), _Clock()
    _ours(out)
    with clock("load"):
        source = data if isinstance(data, DataSet) else sources.load(data)
        modalities = _modalities(source, encoders)
        source = source.only(modalities, source.card.demo)
        timed: dict[str, Any] = {m: _Timed(_encoder(m, encoders[m], device)) for m in modalities}
        _same_encoders(out / "store", timed)
    with clock("embed"):
        store = embed(source, encoders=timed, out=out / "store", batch_size=batch_size, progress=progress)
    groups = _complete(source, store, modalities)
    held_out = min(HELD_OUT, len(groups) // 5)
    if held_out < 2:
        raise BadInput(f"{source.name} has {len(groups)} items with all of {', '.join(modalities)}; the demo needs 10")
    # an earlier run's results must not stand beside this run's space, should it be stopped half way
    for stale in RESULTS:
        (out / stale).unlink(missing_ok=True)

    found: list[Figures] = []
    means: list[Figures] = []
    apart: list[Figures] = []
    for k in range(splits):
        split = holdout(list(groups), list(groups.values()), split=k, n=held_out)
        with clock("align" if k == 0 else "other splits"):
            space_k = align(
                store,
                modalities=modalities,
                method=method,
                settings=settings,
                keys=set(groups),
                hold_out=held_out,
                split=k,
                weights=weights,
                out=out / "space" if k == 0 else None,
                seed=seed,
                progress=_followed(progress, f" {k + 1}/{splits}" if splits > 1 else ""),
            )
        with clock("evaluate" if k == 0 else "other splits"):
            rows, mean, relatives = _evaluate(store, space_k, modalities, source, split, seed)
            found.append(rows)
            means.append(mean)
            apart.append(relatives)
        if k == 0:
            space, first = space_k, split
            with clock("diagnose"):
                diagnosis = diagnose(store, space=space, modalities=modalities, keys=split.test)
                hubs = [
                    hub_report(store, space=space, pair=f"{a}:{b}", keys=split.test)
                    for a, b in combinations(modalities, 2)
                    if held_out >= HUBS_FROM
                ]
            with clock("index"):
                build_index(store, space=space, out=out / "index", modalities=modalities, keys=set(groups))
            progress("index", 1, 1)
    metrics: Figures = {
        **found[0],
        "mean_over_languages": means[0],
        "over_splits": _over_splits(found, means),
        "relatives": apart[0],
        "diagnostics": diagnosis,
        "data": source.name,
        "splits": splits,
        "held_out": held_out,
    }
    with clock("page"):
        page = page_of(
            store,
            space,
            figures={(a, b): found[0][f"{a}_to_{b}"] for a, b in _directions(modalities)},
            means=means[0],
            keys=first.test,
            diagnosis=diagnosis,
            over_splits=metrics["over_splits"] if splits > 1 else None,
            relatives=(source.card.relatives, apart[0]),
            hub_reports=hubs,
            splits=splits,
            facts=_facts(source),
            split_rule=f"{held_out} items: {source.card.split} (split 0); {len(first.dropped)} near-duplicates of "
            f"them were left out of the training ({source.card.near_duplicates})",
        )
    seconds = clock.seconds(timed)
    page |= {
        "seconds": _seconds_for_page(seconds),
        "next": next_commands(out, method),
        "command": f"isthmus demo --splits {splits}",
    }
    metrics["seconds"] = seconds
    _write(out / "report.html", render(page))
    _write(out / "metrics.json", json.dumps(metrics, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
    progress("page", 1, 1)
    return metrics


def headline(metrics: Mapping[str, Any]) -> list[tuple[str, float, float, float]]:
    """Return (what, R@1, R@5, R@10) of the first variant and of the mean, for each direction of `demo`'s figures."""
    lines = []
    for name, mean in metrics["mean_over_languages"].items():
        code, row = next(iter(metrics[name].items()))
        way = name.replace("_to_", " → ")
        lines.append((f"{way}, {code}", row["r@1"], row["r@5"], row["r@10"]))
        if len(metrics[name]) > 1:
            lines.append((f"{way}, mean of {len(metrics[name])}", mean["r@1"], mean["r@5"], mean["r@10"]))
    return lines


def next_commands(out: str | Path, method: str = "projectors") -> list[str]:
    """Return three commands to try on what `demo` left in `out`."""
    index, store, space = (shlex.quote(str(Path(out) / part)) for part in ("index", "store", "space"))
    return [
        f'isthmus search {index} "a cat laughing"',
        f"isthmus diagnose {store} --space {space}",
        f"isthmus show {method}",
    ]


class _Timed:
    """An encoder that counts the seconds spent inside it; all else is the encoder's own."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode(self, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return self._encoder.encode(*args, **kwargs)
        finally:
            self.seconds += time.perf_counter() - start


class _Clock:
    """Adds up the seconds of named stages."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._stages[stage] = self._stages.get(stage, 0.0) + time.perf_counter() - start

    def seconds(self, timed: Mapping[str, Any]) -> dict[str, Any]:
        """Return the seconds of each stage, of the encoders alone, and the total so far."""
        raw = {m: round(encoder.seconds, 2) for m, encoder in timed.items()}
        return {
            **{stage: round(value, 2) for stage, value in self._stages.items()},
            "encoders": raw,
            "raw_encoder": round(sum(raw.values()), 2),
            "total": round(time.perf_counter() - self._start, 2),
        }


def _encoder(modality: str, encoder: Any, device: str) -> Any:
    if isinstance(encoder, str):
        return load_encoder(encoder, modality, device=device)
    return encoder if hasattr(encoder, "fingerprint") else wrap(encoder, modality=modality)


def _ours(out: Path) -> None:
    """Refuse a folder that holds somebody else's files under the names of ours."""
    foreign = [name for name in RESULTS if (out / name).exists() and not (out / "store" / MANIFEST).exists()]
    if foreign:
        raise BadInput(f"{out} holds {' and '.join(foreign)}, and no store of a demo: choose another folder")


def _same_encoders(path: Path, wanted: Mapping[str, Any]) -> None:
    """Refuse a store that other encoders have filled, before any work: a space is fitted on vectors of one make."""
    if not (path / MANIFEST).exists():
        return
    store = Store.open(path)
    for part in store.parts:
        encoder = wanted.get(part["modality"])
        if encoder is not None and part["column"] != encoder.fingerprint.column:
            differences = "; ".join(encoder.fingerprint.differences(store.fingerprints[part["column"]]))
            raise BadInput(
                f"{path} holds {part['modality']} vectors of another encoder than this demo's: {differences}. "
                f"Choose another --out, or delete {path}"
            )


def _modalities(source: DataSet, wanted: Mapping[str, Any]) -> list[str]:
    """Return the modalities of the source that have an encoder, in the order of the encoders."""
    both = [m for m in wanted if m in source.modalities]
    if len(both) < 2:
        raise BadInput(
            f"the demo brings two modalities together; {source.name} has {', '.join(source.modalities)}, "
            f"of which {', '.join(both) or 'none'} has an encoder"
        )
    return both


def _complete(source: DataSet, store: Store, modalities: Sequence[str]) -> dict[str, str]:
    """Return {key: group} of the items of the source that the store has in every modality, in the source's order."""
    stored = [set(store.records(m, ["key"])["key"].to_pylist()) for m in modalities]
    complete = set.intersection(*stored)
    return {r.key: r.group for r in source.records if r.key in complete}


def _directions(modalities: Sequence[str]) -> list[tuple[str, str]]:
    """Return all directions, those in the order of the modalities before their reverse."""
    return [d for a, b in combinations(modalities, 2) for d in ((a, b), (b, a))]


def _evaluate(
    store: Store, space: Space, modalities: Sequence[str], source: DataSet, split: Split, seed: int
) -> tuple[Figures, Figures, Figures]:
    """Return {direction: {variant: figures}}, {direction: mean}, and {direction: {"with", "without": figures}}.

    Variants come in the order of the data set's card; the last are the figures of the first variant, for the items
    with relatives in the training and for those without.
    """
    found: Figures = {}
    means: Figures = {}
    queries: dict[str, Mapping[str, Measured]] = {}
    for a, b in combinations(modalities, 2):
        evaluation = evaluate(store, space=space, pair=f"{a}:{b}", keys=split.test, seed=seed)
        queries |= evaluation.queries
        found |= evaluation.to_json()["directions"]
        means |= evaluation.to_json()["mean"]
    known = dict.fromkeys((*chain(*source.card.demo.values()), *source.card.variants))
    place = {variant: i for i, variant in enumerate(known)}
    ordered = {
        name: dict(sorted(rows.items(), key=lambda row: place.get(row[0], len(place)))) for name, rows in found.items()
    }
    return (
        ordered,
        means,
        _relatives({name: queries[name][next(iter(ordered[name]))] for name in ordered}, source, split),
    )


def _relatives(measured: Mapping[str, Measured], source: DataSet, split: Split) -> Figures:
    """Return the figures of each direction for items with and without relatives in the training, where there are."""
    family = {r.key: r.meta["relatives"] for r in source.records if r.meta.get("relatives")}
    trained = {name for key, name in family.items() if key in split.train}
    found: Figures = {}
    for direction, one in measured.items():
        related = np.array([family.get(key) in trained for key in one.keys.tolist()])
        if related.any() and not related.all():
            found[direction] = {
                name: {"n": int(rows.sum())} | {m: float(one.figures[m][rows].mean()) for m in METRICS}
                for name, rows in (("with", related), ("without", ~related))
            }
    return found


def _over_splits(found: Sequence[Figures], means: Sequence[Figures]) -> Figures:
    """Return, for each direction and variant and for the mean over variants, means over splits with deviations.

    A deviation is None where one split alone was measured.
    """
    over: Figures = {}
    for name in found[0]:
        # a variant that a small split could not measure is averaged over the others
        cells = {code: [rows[name][code] for rows in found if code in rows[name]] for code in found[0][name]}
        cells["mean_over_languages"] = [mean[name] for mean in means]
        over[name] = {
            code: {m: float(np.mean([row[m] for row in rows])) for m in METRICS}
            | {f"{m}_sd": float(np.std([row[m] for row in rows], ddof=1)) if len(rows) > 1 else None for m in METRICS}
            for code, rows in cells.items()
        }
    return over


def _facts(source: DataSet) -> list[tuple[str, list[tuple[str, str]]]]:
    card = source.card
    rows: list[tuple[str, str]] = [("source", source.name), ("holds", card.counts), ("licence", card.licence)]
    if card.attribution:
        rows.append(("attribution", card.attribution))
    if card.packages:
        rows.append(("packages", ", ".join(_versioned(package) for package in card.packages)))
    machine: list[tuple[str, str]] = [
        ("isthmus", isthmus.__version__),
        ("python", platform.python_version()),
        ("machine", f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"),
    ]
    return [("Data", rows), ("Software", machine)]


def _versioned(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package


def _seconds_for_page(seconds: Mapping[str, Any]) -> Figures:
    parts = [[name, value] for name, value in seconds.items() if isinstance(value, float) and name not in SUMS]
    raw = ", ".join(f"{m} {value:.0f} s" for m, value in seconds["encoders"].items())
    return {
        "parts": parts,
        "says": f"{seconds['total']:.0f} s in all. Inside the encoders: {raw}; what the store holds already is not "
        "encoded again.",
    }


def _followed(progress: Progress, suffix: str) -> Progress:
    """Return a progress that names the split in every stage."""
    return lambda stage, done, total: progress(stage + suffix, done, total)


def _write(path: Path, text: str) -> None:
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")
