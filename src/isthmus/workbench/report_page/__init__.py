"""The result page: one self-contained HTML file, rendered from one plain dict.

`render(page)` turns the dict into the file's text and needs nothing else: no network, no template engine, no
plotting package. The dict holds JSON values only and names no modality, variant or metric of its own, so that
three modalities in no language at all make the same page. `gather.page_of` builds it from a store and a space.

Every section is optional but the title; a section that has nothing to show is left out. Shape:

- ``title``, ``lede``, ``command``: text.
- ``thumbs``: {uri, rows, count}, the sprite sheet of `thumbnails.Sheet.to_json`.
- ``variants``: {code: {label, lang}}; ``lang`` is a language tag or "" (a style, a voice).
- ``headline``: [{name, says, value, low, high, chance}].
- ``metrics``: the names of the shares to show, such as ["r@1", "r@5", "r@10"].
- ``directions``: [{name, label, from, to, candidates, chance: {metric: share},
  rows: {variant: {n, metric: share, intervals: {metric: [low, high]}}}, mean: {metric: share, intervals}}].
- ``over_splits``: {splits, rows: [{label, cells: {direction label: {metric: {mean, sd}}}}]}.
- ``gallery``: {rule, shown, rows: [{direction, variant, mixed, query: ITEM, answer: ITEM, rank, of,
  hits: [{item: ITEM, right, score}]}]}. An ITEM is {label, text, thumb, modality, lang}; ``thumb`` numbers a
  tile of the sheet or is None, ``text`` is what was searched for or found, ``label`` says what it is.
- ``map``: {says, describe, layouts: [name], points: [{at: [[x, y] of each layout], key, item: ITEM}]}, x and y from
  0 to 1.
- ``health``: [{name, value, says, before}], ``before`` may be absent; ``similarity``: [{label, edges, pairs, others,
  says}].
- ``hubs``: [{label, says, edges, counts, top: [{item: ITEM, count}]}].
- ``correction``: [{label, says, axis, names, before, after, top: [{item: ITEM, before, after}]}], the histograms of how
  often items are found before and after a correction of hubs, and the hubs themselves.
- ``training``: {losses, label, says}.
- ``seconds``: {parts: [[name, seconds]], total, says}.
- ``made``: [{name, rows: [[term, text]]}]; ``next``: [command].
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from isthmus.workbench.report_page import sections
from isthmus.workbench.report_page.markup import Markup, tag

__all__ = ["render"]


def render(page: Mapping[str, Any]) -> str:
    """Return the whole HTML file for a page dict (see the module)."""
    assets = files(__package__)
    style = assets.joinpath("style.css").read_text(encoding="utf-8")
    script = assets.joinpath("script.js").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        # nothing may be fetched, whatever the data brings
        tag(
            "meta",
            http_equiv="Content-Security-Policy",
            content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'",
        ),
        tag("title", page["title"]),
        tag("link", rel="icon", href="data:,"),
        tag("style", Markup(style + sections.sheet_style(page.get("thumbs", {})))),
    )
    body = tag("body", *sections.all_of(page), tag("script", Markup(script)))
    return f'<!doctype html>\n<html lang="en">{head}{body}</html>\n'
