"""A diagnosis as tables for people: every figure with a few words on what good is."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["spoken", "tables"]

NAMED = 5
"""Hubs that a caption names."""
Table = tuple[str, Sequence[str], Sequence[Sequence[Any]], str]
COLUMNS = ("figure", "before", "in the space", "what good is")
SPREAD = {
    "effective_rank": ("effective rank", "high: many directions are in use; near 1 all has collapsed to a line"),
    "uniformity": ("uniformity", "low: about −4 is evenly spread on the sphere, 0 all vectors alike"),
}
SHARED = {
    "modality_gap": ("modality gap", "near 0: the two clouds have one centre; 2 at most"),
    "separability": ("told apart by a plane", "near 0.5: the modalities are mixed; 1: they lie apart"),
    "alignment": ("distance² of partners", "near 0, and far below that of strangers"),
    "alignment_of_strangers": ("distance² of strangers", "about 2: unrelated items stand at right angles"),
    "cross_uniformity": ("nearness of strangers", "low: about −4 when strangers of both spread over the whole sphere"),
    "linear_cka": ("similarity (CKA)", "near 1: both see the same likenesses; 0: unrelated"),
}
HUBS = {
    "hubness_skewness": ("skewness of hits", "below 1; above, a few items crowd everywhere"),
    "orphan_share": ("never found", "near 0: items that no query finds"),
    "max_count": ("found most often", "near what is even: the largest hub's hits"),
    "robin_hood": ("unevenness of hits", "near 0: hits that would have to move"),
}


def tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """Yield title, columns, rows and caption of each table of a diagnosis (`isthmus.workbench.diagnose`)."""
    for name, figures in report["modalities"].items():
        title = f"{name}: {figures['n']:,} records, {figures['width']:,} numbers wide before the space"
        yield title, COLUMNS, _beside(SPREAD, figures["raw"], figures["mapped"]), ""
    for pair, figures in report["pairs"].items():
        a, b = pair.split(":")
        title = f"{a} and {b}: {figures['items']:,} items have both"
        yield title, COLUMNS, _beside(SHARED, figures["raw"], figures["mapped"]), ""
        ways = [(way.replace("_to_", " → "), hubs) for way, hubs in figures["hubness"].items()]
        k = ways[0][1]["k"]
        columns = ("figure", *(way for way, _ in ways), "what good is")
        rows = [(name, *(hubs[figure] for _, hubs in ways), good) for figure, (name, good) in HUBS.items()]
        caption = "\n".join(f"Strongest hub of {way}: {hub}" for way, hubs in ways if (hub := _hub(hubs)))
        yield f"{a} and {b}: who is among the {k} nearest", columns, rows, caption
    for pair, found in report.get("hubs", {}).items():
        for way, hubs in found["directions"].items():
            yield _corrected(pair, way.replace("_to_", " → "), found, hubs)


def _corrected(pair: str, way: str, report: Mapping[str, Any], hubs: Mapping[str, Any]) -> Table:
    """Return the table of the hubs of one direction before and after a correction."""
    rows = [(name, hubs["before"][f], hubs["after"][f], good) for f, (name, good) in HUBS.items()]
    top = ", ".join(
        f"{hub['text'] or hub['key']!r} {hub['before']:,.0f} → {hub['after']:,.0f}" for hub in hubs["top"][:NAMED]
    )
    caption = f"Corrected by {spoken(hubs['chosen'])}. Largest hubs, hits before → after: {top}"
    title = f"{way}, hubs before and after {report['correct']}: {hubs['queries']:,} queries, {hubs['gallery']:,} items"
    return title, ("figure", "before", "after", "what good is"), rows, caption


def spoken(chosen: Sequence[Mapping[str, Any]]) -> str:
    """Say what was chosen on each half of the items: the correction and its settings, or that none helped."""
    said = [
        "nothing (no setting helped)"
        if each["name"] == "none"
        else f"{each['name']} {' '.join(f'{k}={v:g}' for k, v in each['settings'].items())}".strip()
        for each in chosen
    ]
    return " and ".join(dict.fromkeys(said))


def _beside(
    named: Mapping[str, tuple[str, str]], before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    return [(name, before.get(f), after[f], good) for f, (name, good) in named.items() if f in after]


def _hub(hubs: Mapping[str, Any]) -> str:
    if not hubs["top"]:
        return ""
    top = hubs["top"][0]
    return f"{top['text'] or top['key']!r}, found {top['count']:,.0f} times where {top['evenly']:,.0f} would be even"
