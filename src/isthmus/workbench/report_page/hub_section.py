"""The section on hubs before and after a correction: how often items are found, and the pictures that are hubs."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from isthmus.workbench.report_page import plots
from isthmus.workbench.report_page.held import Shelf, Side
from isthmus.workbench.report_page.markup import Markup, Node, tag

__all__ = ["hub_parts", "hub_section"]

SHOWN = 8
RULE = (
    "The banks of the correction are items that the space was trained on, and each half of the queries is corrected "
    "with settings chosen on the other half; where nothing helps there, nothing is corrected."
)


def hub_section(parts: Sequence[Mapping[str, Any]], show: Callable[[Mapping[str, Any], str], Markup]) -> list[Node]:
    """Return the section of the page's ``correction`` part; `show` draws an ITEM in a role."""
    blocks: list[Node] = []
    for part in parts:
        picture = plots.grouped(
            part["names"],
            {"before": part["before"], "after": part["after"]},
            describe=part["says"],
            label=part["axis"],
        )
        top = [
            tag(
                "li",
                show(entry["item"], "found"),
                tag("span", f"{entry['before']:g} → {entry['after']:g}×", class_="place"),
                class_="hit",
                title=f"{entry['item']['label']}: {entry['before']:g} before, {entry['after']:g} after",
            )
            for entry in part["top"]
        ]
        blocks.append(
            tag(
                "div",
                tag("h3", part["label"]),
                tag("figure", picture, tag("figcaption", part["says"])),
                tag("p", "Found most often, before → after:", class_="explain"),
                tag("ol", *top, class_="hits"),
            )
        )
    return [tag("p", RULE, class_="explain"), tag("div", *blocks, class_="pair even")] if blocks else []


def hub_parts(report: Mapping[str, Any], sides: Mapping[str, Side], shelf: Shelf) -> list[dict[str, Any]]:
    """Return the page's ``correction`` part of each direction of `workbench.hubs.hub_report`, items as on a shelf."""
    parts = []
    for name, found in report["directions"].items():
        asking, _, offered = name.partition("_to_")
        row_of = {str(i): row for row, i in enumerate(sides[offered].vectors.ids.tolist())}
        before, after = found["before"], found["after"]
        parts.append(
            {
                "label": f"{asking} → {offered}, {_spoken(found['chosen'])}",
                "axis": f"times among the first {report['k']} of {found['queries']:,} queries; bars count items",
                "says": f"Skewness {before['hubness_skewness']:.2f} → {after['hubness_skewness']:.2f}; never found "
                f"{before['orphan_share']:.1%} → {after['orphan_share']:.1%} of {found['gallery']:,} items; most often "
                f"found {before['max_count']:,.0f} → {after['max_count']:,.0f} times; places that would have to move "
                f"{before['robin_hood']:.0%} → {after['robin_hood']:.0%}.",
                "names": _names(found["edges"]),
                "before": before["histogram"],
                "after": after["histogram"],
                "top": [
                    {
                        "item": shelf.item(offered, row_of[hub["id"]]),
                        "before": round(hub["before"]),
                        "after": round(hub["after"]),
                    }
                    for hub in found["top"][:SHOWN]
                    if hub["id"] in row_of
                ],
            }
        )
    return parts


def _spoken(chosen: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(each["name"] for each in chosen))
    return "nothing helped" if names == ["none"] else " and ".join(n if n != "none" else "no correction" for n in names)


def _names(edges: Sequence[int]) -> list[str]:
    """Return what the intervals between edges are called: 0, 1, 2–4, …, 500 and more."""
    inner = [f"{low}" if high == low + 1 else f"{low}–{high - 1}" for low, high in pairwise(edges)]
    return [*inner, f"≥ {edges[-1]}" if edges[-1] else "0"]
