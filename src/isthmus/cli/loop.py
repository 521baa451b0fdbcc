"""The product loop: embed, align, evaluate, diagnose; `cli.search` has index and search."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from isthmus.cli import console
from isthmus.cli.console import Common, common
from isthmus.cli.health import spoken

__all__ = ["align", "diagnose", "evaluate"]

Repeated = Parameter(negative="")
SHOWN = ("R@1", "R@5", "R@10", "MRR")


def align(
    store: Path,
    *,
    modalities: str,
    out: Path,
    method: str = "projectors",
    hold_out: int = 0,
    split: int = 0,
    set: Annotated[list[str] | None, Repeated] = None,
    options: Common = common,
) -> None:
    """Fit one map a modality from the items of a store: a space.

    Args:
        store: Folder of the store.
        modalities: Which modalities to bring together, such as image,text.
        out: Folder of the space.
        method: What fits the maps (see `isthmus methods`).
        hold_out: How many items to keep out of the fit, for `evaluate`; near-duplicates of them stay out too.
        split: Which ones: another number, another choice.
        set: Settings of the method, such as width=256; repeat for more.
        options: Device, batch size, seed, JSON.
    """
    from isthmus.workbench.align import align as run

    with console.progress() as progress:
        space = run(
            store,
            modalities=[m.strip() for m in modalities.split(",") if m.strip()],
            method=method,
            settings=console.assignments("--set", set or []),
            hold_out=hold_out,
            split=split,
            out=out,
            seed=options.seed,
            progress=progress,
        )
    if options.json:
        listed = ("keys", "held_out")  # thousands of them
        training = {k: v for k, v in space.card["training"].items() if k not in listed}
        console.emit({**space.card, "training": training})
    else:
        if options.device != "cpu":
            console.note(f"the method runs on the processor; --device {options.device} changed nothing")
        console.note(f"space of {', '.join(sorted(space.maps))} in {out}")


def evaluate(
    store: Path,
    *,
    space: str | None = None,
    pair: str = "text:image",
    correct: str = "none",
    out: Path | None = None,
    options: Common = common,
) -> None:
    """Measure retrieval between two modalities, both ways, with 95 % intervals.

    Args:
        store: Folder of the store.
        space: Folder of the space, or the name of an encoder of several modalities; the default space without it.
        pair: The two modalities, such as text:image.
        correct: Take hubs out of the scores (is, dual_is, nnn, csls, dn, dis, dual_dis, gc), on items not trained on.
        out: Folder for metrics.json and the TREC run and qrels.
        options: Device, batch size, seed, JSON.
    """
    from isthmus.workbench.evaluate import evaluate as run

    with console.progress() as progress:
        found = run(store, space=space, pair=pair, correct=correct, out=out, seed=options.seed, progress=progress)
    figures = found.to_json()
    if options.json:
        console.emit(figures)
        return
    for direction, variants in figures["directions"].items():
        rows = [(name, m["n"], *_with_intervals(m)) for name, m in variants.items()]
        if len(rows) > 1:
            rows.append(("mean", None, *_with_intervals(figures["mean"][direction])))
        if "correction" in figures:
            rows.append(("uncorrected", None, *_with_intervals(figures["correction"]["raw"][direction])))
        sizes = sorted({m["gallery"] for m in variants.values()})
        among = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
        title = f"{direction.replace('_', ' ')}, among {among}, ± half of the 95 % interval"
        console.table(title, ["variant", "queries", *SHOWN], rows)
    for direction, record in figures.get("correction", {}).get("directions", {}).items():
        console.note(
            f"{direction.replace('_', ' ')}: corrected by {spoken(record['chosen'])}, each half by the other's"
        )
    for note in figures["notes"]:
        console.note(f"note: {note}")
    for variant, reason in figures["skipped"].items():
        console.note(f"{variant} was left out: {reason}")
    if out is not None:
        console.note(f"metrics.json, TREC run and qrels in {out}")


def _with_intervals(figures: Mapping[str, Any]) -> list[str]:
    """Return each shown figure with half the width of its interval."""
    intervals = figures["intervals"]
    names = [name.lower() for name in SHOWN]
    return [f"{figures[n]:.3f} ±{(intervals[n][1] - intervals[n][0]) / 2:.3f}".replace("±0.", "±.") for n in names]


def diagnose(
    store: Path,
    *,
    space: str | None = None,
    correct: str = "none",
    draw: Path | None = None,
    options: Common = common,
) -> None:
    """Report the health of a space: modality gap, alignment, hubs, effective rank.

    Args:
        store: Folder of the store.
        space: Folder of the space, or the name of an encoder of several modalities; the default space without it.
        correct: Show hubs before and after a correction too (is, dual_is, nnn, csls, dn, dis, dual_dis, gc).
        draw: Folder for drawings (SVG) of each two modalities on their principal axes, and of their spectra.
        options: Device, batch size, seed, JSON.
    """
    from isthmus.cli.health import tables
    from isthmus.workbench.diagnose import diagnose as run

    with console.progress() as progress:
        figures = run(store, space=space, correct=correct, draw=draw, seed=options.seed, progress=progress)
    if options.json:
        console.emit(figures)
        return
    for title, columns, rows, caption in tables(figures):
        console.table(title, columns, rows, caption=caption)
    if draw is not None:
        console.note(f"{len(figures['drawn'])} drawings in {draw}")
