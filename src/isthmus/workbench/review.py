"""`check`: what a reviewer would ask of a method, answered one finding at a time.

A finding is ``{"method", "check", "state", "detail"}`` with the state "ok", "note" (worth knowing) or "fail" (to be
mended). A claim that does not hold is a note: it is a result like any other.
"""

import ast
import importlib
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from isthmus.core.card import Control, Fact
from isthmus.core.catalog import Entry
from isthmus.core.errors import IsthmusError
from isthmus.core.syntax import parsed
from isthmus.workbench import facts, results

__all__ = ["FAMILIES", "card_errors", "review", "target_errors"]

SECONDS = 60.0
FAMILIES = {
    "objectives": "Training objectives.",
    "spaces": "Common spaces: maps that bring the vectors of several encoders together.",
    "scoring": "Scores and their correction, at search time.",
    "codes": "Short codes: hashing, sparse and compressed vectors.",
    "fusion": "Models that see several modalities at once.",
    "bridges": "Bridges from an encoder into a generator.",
    "generators": "Models that make one modality from another.",
    "dense": "Dense predictions: segmentation, matching, grounding in pixels.",
    "graphs": "Items with relations between them.",
    "training": "Training procedures: growing, distilling, continual and curriculum learning.",
    "studies": "Studies of what others built.",
}
"""What a user holds when a method of the folder is done."""


def review(entry: Entry, stored: Path | None = None) -> list[dict[str, str]]:
    """Return all findings about a method: card, targets, toy, facts, tests, stored result (in the folder `stored`)."""
    try:
        _ = entry.card
        module = entry.load()
    except Exception as error:
        return [_finding(entry, "card", "fail", f"{type(error).__name__}: {error}")]
    found = [*_card(entry), *_targets(entry, module), *_toy(entry, module), *_tests(entry), *_result(entry, stored)]
    return [_finding(entry, *finding) for finding in found]


def card_errors(entry: Entry) -> list[str]:
    """Return what is wrong with a card beyond its types: family, facts, controls, tasks and metrics of the claims."""
    card, errors = entry.card, list[str]()
    if entry.family not in FAMILIES:
        errors.append(f"the folder {entry.family!r} is no family; families: {', '.join(FAMILIES)}")
    if unknown := [f for f in card.facts if f not in get_args(Fact)]:
        errors.append(f"unknown facts {unknown}; known: {', '.join(get_args(Fact))}")
    for claim in (card.claim, *card.further):
        if claim.control not in get_args(Control):
            errors.append(f"unknown control {claim.control!r}; known: {', '.join(get_args(Control))}")
        try:
            task = results.task(claim, entry)
        except IsthmusError as error:
            errors.append(str(error))
        else:
            if claim.metric not in task.ranges:
                errors.append(f"{task.name} declares no range of the metric {claim.metric!r}")
                continue
            low, high = task.ranges[claim.metric]
            if claim.unit == "points" and not 0 <= claim.margin < high - low:
                errors.append(
                    f"margin {claim.margin:g}: {claim.metric} lies in [{low:g}, {high:g}], and points are its own units"
                )
    errors += [f"{item!r} is missing without a reason" for item, reason in card.missing.items() if not reason]
    return errors


def target_errors(entry: Entry, module: ModuleType) -> dict[str, str]:
    """Return, for each verb of `uses` and each item of `delivers` that is not missing, what is wrong with its target.

    The text is empty when the target is there. An item may name several targets, separated by ", ".
    """
    card = entry.card
    targets = {f"uses {verb}": t for verb, t in card.uses.items()}
    targets |= {f"delivers {item}": t for item, t in card.delivers.items() if item not in card.missing}
    return {
        name: "; ".join(error for t in target.split(", ") if (error := _target_error(entry, module, t)))
        for name, target in targets.items()
    }


def _target_error(entry: Entry, module: ModuleType, target: str) -> str:
    """Say why a target of `delivers` or `uses` does not exist; empty when it does, or cannot be seen from here.

    A target is a public name of the method's module (``Projectors``, ``Projectors.fit``), a full name
    (``isthmus.metrics.similarity.linear_cka``), or a test id (``tests/…/test_x.py::test_y``).
    """
    file, _, name = target.partition("::")
    if name:
        tree = results.project(entry.path)
        if tree is None:
            return ""
        if not (tree / file).is_file():
            return f"{file} does not exist"
        return "" if name.split("::")[-1].split("[")[0] in _functions(tree / file) else f"{file} has no {name}"
    path = target.split(".")
    if any(part.startswith("_") for part in path):
        return f"{target} is not a public name"
    if path[0] == "isthmus":
        return _resolve(importlib.import_module("isthmus"), path[1:])
    if path[0] not in getattr(module, "__all__", path):
        return f"{path[0]} is not in the module's __all__"
    return _resolve(module, path)


def _resolve(value: Any, path: list[str]) -> str:
    for i, part in enumerate(path):
        if not hasattr(value, part) and isinstance(value, ModuleType):
            try:
                importlib.import_module(f"{value.__name__}.{part}")
            except ImportError:
                return f"{value.__name__} has no {'.'.join(path[i:])}"
        if not hasattr(value, part):
            return f"{getattr(value, '__name__', value)} has no {part}"
        value = getattr(value, part)
    return ""


def _card(entry: Entry) -> Iterator[tuple[str, str, str]]:
    errors = card_errors(entry)
    if todo := [name for name, value in asdict(entry.card).items() if "TODO" in str(value)]:
        errors.append(f"the template's TODO still stands in {', '.join(todo)}")
    for error in errors:
        yield "card", "fail", error
    if not errors:
        yield "card", "ok", entry.card.title


def _targets(entry: Entry, module: ModuleType) -> Iterator[tuple[str, str, str]]:
    for item, reason in entry.card.missing.items():
        yield f"delivers {item}", "note", f"missing: {reason}"
    for name, error in target_errors(entry, module).items():
        yield name, "fail" if error else "ok", error


def _toy(entry: Entry, module: ModuleType) -> Iterator[tuple[str, str, str]]:
    try:
        demo = module.toy().demo()
        dead = [name for name, value in demo.items() if not math.isfinite(value)]
        yield "toy", "fail" if dead else "ok", f"not finite: {dead}" if dead else f"{len(demo)} finite numbers"
        for fact in entry.card.facts:
            error = facts.CHECKS[fact](entry) if fact in facts.CHECKS else "unknown"
            yield f"fact {fact}", "fail" if error else "ok", error
    except Exception as error:
        # whatever a method raises is a finding about it, not a failure of the check
        yield "toy", "fail", f"{type(error).__name__}: {error}"


def _tests(entry: Entry) -> Iterator[tuple[str, str, str]]:
    tree = results.project(entry.path)
    if tree is None:
        yield "tests", "note", "not in a source tree: tests were not looked for"
        return
    path = tree / "tests" / "methods" / entry.family / f"test_{entry.name}.py"
    if not path.is_file():
        yield "tests", "fail", f"{path.relative_to(tree)} does not exist"
        return
    wanted = ("test_oracle", "test_relations", "test_properties", "test_errors")
    lacking = [w for w in wanted if not any(f.startswith(w) for f in _functions(path))]
    yield "tests", "fail" if lacking else "ok", f"{path.name} lacks {', '.join(lacking)}" if lacking else path.name


def _result(entry: Entry, stored: Path | None) -> Iterator[tuple[str, str, str]]:
    try:
        result = results.stored(entry, stored)
    except IsthmusError as error:
        yield "result", "fail", str(error)
        return
    if result is None:
        where = f" in {home}" if (home := stored or results.folder(entry)) else ""
        yield "result", "fail", f"none{where}: isthmus run {entry.name} --budget small --seeds 5"
        return
    if reason := results.stale(entry, result):
        yield "result", "fail", f"stale: {reason}; run it again"
    else:
        yield "result", "ok", f"{result.budget}, {len(result.seeds)} seeds"
    if result.base_digest != results.base_digest(entry):
        yield "result", "note", "measured on an older base: what the method imports has changed since"
    for record in result.claims:
        claim, judged, control = record["claim"], record["verdict"], record["control"]
        text = f"{claim['better']} > {claim['than']} in {claim['metric']} by {claim['margin']:g} {claim['unit']}"
        if judged is None:
            yield "claim", "fail", f"{text}: no verdict is stored"
            continue
        yield (
            "claim",
            "ok" if judged["holds"] else "note",
            f"{text}: {judged['gain']:+.4g} ± {judged['half']:.2g}"
            + ("" if judged["holds"] else ", which does not hold"),
        )
        if control and control["holds"]:
            yield "control", "note", f"{text}: holds under {control['kind']} too, so it says nothing"
    if result.budget == "small" and result.seconds > SECONDS:
        yield "result", "note", f"{result.seconds:.0f} s a seed, wished at most {SECONDS:.0f}"


def _functions(path: Path) -> set[str]:
    tree = parsed(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def _finding(entry: Entry, check: str, state: str, detail: str) -> dict[str, str]:
    return {"method": entry.name, "check": check, "state": state, "detail": detail}
