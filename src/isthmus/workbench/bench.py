"""The catalogue's verbs: list, show and try methods, measure their claims, check them, and the table of all.

Every function returns plain data (JSON values); the shells print it. `extra` are folders with more methods.
"""

import ast
import hashlib
import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from isthmus.core.card import Claim, Control
from isthmus.core.catalog import Entry, find, walk
from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.core.report import Report, verdict
from isthmus.core.run import Budget, Run, cache_dir, seeded
from isthmus.core.syntax import parsed
from isthmus.workbench import results
from isthmus.workbench.review import review

__all__ = ["check", "methods", "run", "show", "table", "toy"]

STORED_SEEDS = 5


def methods(family: str | None = None, *, extra: Sequence[Path] = ()) -> list[dict[str, Any]]:
    """List the methods (of a family): name, family, title, year, summary. Imports none of them.

    Raises `NotFound` for a family without methods.
    """
    entries = walk(extra)
    if family is not None and family not in {e.family for e in entries}:
        raise NotFound.named("family", family, {e.family for e in entries})
    return [
        {"name": e.name, "family": e.family, "title": e.card.title, "year": e.card.year, "summary": e.card.summary}
        for e in entries
        if family in (None, e.family)
    ]


def show(name: str, *, extra: Sequence[Path] = (), stored: Path | None = None) -> dict[str, Any]:
    """Return everything known about a method: its card, its docstring, its row in the table. Imports nothing."""
    entry = find(name, extra)
    return {
        **_row(entry, stored),
        "path": str(entry.path),
        "card": asdict(entry.card),
        "missing": entry.card.missing,
        "text": ast.get_docstring(parsed(entry.path.read_text(encoding="utf-8"))) or "",
    }


def toy(name: str, *, extra: Sequence[Path] = ()) -> dict[str, Any]:
    """Run a method's toy and return its role, the demo's numbers and the seconds it took."""
    start = time.perf_counter()
    entry = find(name, extra)
    made = entry.load().toy()
    demo = {key: float(value) for key, value in made.demo().items()}
    return {"name": entry.name, "role": made.role, "demo": demo, "seconds": round(time.perf_counter() - start, 3)}


def check(*names: str, extra: Sequence[Path] = (), stored: Path | None = None) -> list[dict[str, str]]:
    """Return the findings about some methods (all when none is named); one whose state is "fail" is to be mended."""
    entries = [find(name, extra) for name in names] if names else walk(extra)
    return [finding for entry in entries for finding in review(entry, stored)]


def table(*, extra: Sequence[Path] = (), stored: Path | None = None) -> list[dict[str, Any]]:
    """Return one record a method: its headline claim, what was measured, and what of its card is delivered.

    `gain`, `half`, `holds`, `control_holds`, `stale`, `older_base` and `seconds` are None without a stored result.
    """
    return [_row(entry, stored) for entry in walk(extra)]


def run(
    name: str,
    *,
    budget: Budget = "small",
    seeds: int = 5,
    out: Path | None = None,
    fresh: bool = False,
    extra: Sequence[Path] = (),
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure a method's claims over paired seeds, under their controls too, and return the result with its path.

    A claim holds when its mean gain less half the 95 % interval exceeds the margin (`isthmus.core.report.verdict`).
    A control that holds is repeated on as many fresh seeds. There is no verdict at smoke, which is for tests, nor
    from one seed.

    The result is stored under `out` if that is given. Otherwise a small run of at least 5 seeds is stored in
    `results` of the source tree that the method's file belongs to, and other runs are not stored (``stored`` is
    None). Finished seeds are kept in the cache folder, so that a stopped run goes on where it was, as long as the
    code, the claims and the versions of packages are the same; `fresh` measures them again.
    """
    if budget not in get_args(Budget):
        raise NotFound.named("budget", budget, get_args(Budget))
    if seeds < 1:
        raise BadInput(f"--seeds {seeds}: at least 1 is needed")
    entry = find(name, extra)
    bench = _Bench.of(entry, budget, fresh, progress)
    claims = (entry.card.claim, *entry.card.further)
    controls = [c for c in dict.fromkeys(claim.control for claim in claims) if c != "none"]
    numbers = list(range(seeds))
    bench.plan(numbers, [None, *controls])

    records = []
    for claim in claims:
        record = {"claim": asdict(claim), "verdict": None, "control": None}
        if budget != "smoke" and seeds > 1:
            record["verdict"] = bench.verdict(claim, numbers, None)
            if claim.control != "none":
                record["control"] = bench.control(claim, numbers)
        records.append(record)
    result = results.Result(
        name=entry.name,
        budget=budget,
        seeds=numbers,
        claims=records,
        rows=[row for done in bench.done.values() for row in done["rows"]],
        seconds=round(statistics.median(bench.done[seed, None]["seconds"] for seed in numbers), 3),
        digest=results.digest(entry),
        task_version=entry.card.claim.task,
        base_digest=results.base_digest(entry),
        versions=results.versions(),
        machine=results.machine(),
    )
    tree = results.project(entry.path)
    if out is None and tree is not None and budget == "small" and seeds >= STORED_SEEDS:
        out = tree / "results"
    return {**asdict(result), "stored": str(result.save(out)) if out is not None else None}


@dataclass
class _Bench:
    """The seeds of one method's experiment that are done, each kept in a file as soon as it is."""

    entry: Entry
    budget: Budget
    folder: Path
    fresh: bool
    progress: Progress
    done: dict[tuple[int, Control | None], dict[str, Any]]
    total: int = 0

    @classmethod
    def of(cls, entry: Entry, budget: Budget, fresh: bool, progress: Progress) -> "_Bench":
        measured = [
            results.digest(entry),
            results.base_digest(entry),
            results.declared(entry),
            results.versions(),
        ]
        key = hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()[:12]
        return cls(entry, budget, cache_dir() / "runs" / f"{entry.name}-{budget}-{key}", fresh, progress, {})

    def plan(self, seeds: Sequence[int], controls: Sequence[Control | None]) -> None:
        """Measure all seeds under all controls that are not done yet."""
        wanted = [(seed, control) for control in controls for seed in seeds if (seed, control) not in self.done]
        self.total += len(wanted)
        for seed, control in wanted:
            self.progress(f"run {self.entry.name}", len(self.done), self.total)
            self.done[seed, control] = self._measure(seed, control)
        self.progress(f"run {self.entry.name}", len(self.done), self.total)

    def verdict(self, claim: Claim, seeds: Sequence[int], control: Control | None) -> dict[str, Any]:
        """Judge a claim over seeds that are done."""
        gains = [Report(self.done[seed, control]["rows"]).gain(claim) for seed in seeds]
        judged = asdict(verdict(gains, claim.margin, control=control is not None))
        return {**judged, "gains": gains}

    def control(self, claim: Claim, seeds: Sequence[int]) -> dict[str, Any]:
        """Judge a claim under its control, and once more on fresh seeds when it holds there."""
        judged = last = self.verdict(claim, seeds, claim.control)
        repeat = None
        if judged["holds"]:
            fresh = [seed + len(seeds) for seed in seeds]
            self.plan(fresh, [claim.control])
            repeat = last = self.verdict(claim, fresh, claim.control)
        return {"kind": claim.control, "verdict": judged, "repeat": repeat, "holds": last["holds"]}

    def _measure(self, seed: int, control: Control | None) -> dict[str, Any]:
        folder = self.folder / (f"seed-{seed}-{control}" if control else f"seed-{seed}")
        kept = folder.with_suffix(".json")
        if kept.is_file() and not self.fresh:
            measured: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
            return measured
        folder.mkdir(parents=True, exist_ok=True)
        module = self.entry.load()
        context = Run(
            budget=self.budget,
            seed=seed,
            control=control,
            out=folder,
            cache=cache_dir() / "features",
            progress=self.progress,
        )
        start = time.perf_counter()
        with seeded(context.derived("run")):
            report = module.run(context)
        seconds = time.perf_counter() - start
        where = f"{self.entry.name}, seed {seed}{f', {control}' if control else ''}"
        rows = [
            {"seed": seed, "control": control, **results.plain(row, f"{where}, arm {row.get('arm')}")} for row in report
        ]
        measured = {"rows": rows, "seconds": seconds}
        partial = kept.with_suffix(f".{os.getpid()}.tmp")
        partial.write_text(json.dumps(measured, ensure_ascii=False, allow_nan=False), encoding="utf-8")
        partial.replace(kept)
        return measured


def _row(entry: Entry, stored: Path | None) -> dict[str, Any]:
    card, result = entry.card, results.stored(entry, stored)
    judged = (result.headline["verdict"] if result else None) or {}
    control = (result.headline["control"] if result else None) or {}
    return {
        "name": entry.name,
        "family": entry.family,
        "title": card.title,
        "year": card.year,
        "claim": str(card.claim),
        "task": card.claim.task,
        "metric": card.claim.metric,
        "better": card.claim.better,
        "than": card.claim.than,
        "by": card.claim.margin,
        "unit": card.claim.unit,
        "gain": judged.get("gain"),
        "half": judged.get("half"),
        "holds": judged.get("holds"),
        "control": card.claim.control,
        "control_holds": control.get("holds"),
        "stale": bool(results.stale(entry, result)) if result else None,
        "older_base": result.base_digest != results.base_digest(entry) if result else None,
        "delivered": len(card.delivers) - len(card.missing),
        "total": len(card.delivers),
        "seconds": result.seconds if result else None,
    }
