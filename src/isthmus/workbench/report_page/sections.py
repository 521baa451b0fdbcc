"""The sections of the result page, each from its own part of the page dict; an absent part gives no section."""

from collections.abc import Mapping, Sequence
from typing import Any

from isthmus.workbench.report_page import plots
from isthmus.workbench.report_page.hub_section import hub_section
from isthmus.workbench.report_page.markup import Markup, Node, join, tag
from isthmus.workbench.report_page.thumbnails import COLUMNS

__all__ = ["all_of", "sheet_style"]

Part = Mapping[str, Any]

MARK = Markup(
    '<svg class="logo" viewBox="0 0 64 32" aria-hidden="true"><circle cx="13" cy="16" r="12"/>'
    '<circle cx="51" cy="16" r="12"/><path d="M22 12.5h20v7H22z"/></svg>'
)


def all_of(page: Part) -> list[Node]:
    """Return the header, the sections and the footer."""
    found = [
        ("look", "What it finds", _gallery(page)),
        ("map", "The space, flattened", _map(page)),
        ("figures", "Retrieval, measured", _figures(page)),
        ("health", "Health of the space", _health(page)),
        ("hubs", "Hubs", _hubs(page)),
        ("correction", "Hubs, taken out", hub_section(page.get("correction", []), _item)),
        ("seconds", "Where the time went", _seconds(page)),
        ("made", "How it was made", _made(page)),
    ]
    shown = [(anchor, name, content) for anchor, name, content in found if content]
    links = [tag("a", name, href=f"#{anchor}") for anchor, name, _ in shown]
    return [
        tag("a", "Skip to the results", href="#main", class_="skip"),
        tag(
            "header",
            tag("p", MARK, "isthmus", class_="brand"),
            tag("h1", page["title"]),
            tag("p", page["lede"], class_="lede") if page.get("lede") else None,
            _headline(page),
            tag("nav", *links, aria_label="Sections") if links else None,
        ),
        tag(
            "main",
            *[
                tag(
                    "section",
                    tag("h2", name, id=f"{anchor}-title"),
                    *content,
                    id=anchor,
                    aria_labelledby=f"{anchor}-title",
                )
                for anchor, name, content in shown
            ],
            id="main",
        ),
        tag("footer", _next(page), tag("p", "Written by ", tag("code", page.get("command", "isthmus")), ".")),
    ]


def sheet_style(thumbs: Part) -> str:
    """Return the CSS that puts the sprite sheet behind every tile."""
    if not thumbs.get("count"):
        return ""
    rows = thumbs["rows"]
    across = f"calc(var(--c) * 100% / {COLUMNS - 1})"
    down = f"calc(var(--r) * 100% / {max(rows - 1, 1)})"
    return (
        f".t{{background-image:url({thumbs['uri']});background-size:{100 * COLUMNS}% {100 * rows}%;"
        f"background-position:{across} {down}}}"
    )


def _headline(page: Part) -> Node:
    tiles = [
        tag(
            "div",
            tag("dt", figure["name"]),
            tag("dd", _percent(figure["value"]), class_="big"),
            tag("dd", figure["says"], class_="says"),
            tag(
                "dd",
                f"95% interval {_interval(figure['low'], figure['high'])}, " if figure.get("low") is not None else None,
                f"chance {_percent(figure['chance'])}",
                class_="fine",
            ),
        )
        for figure in page.get("headline", [])
    ]
    return tag("dl", *tiles, class_="tiles") if tiles else None


def _gallery(page: Part) -> list[Node]:
    gallery = page.get("gallery") or {}
    rows = gallery.get("rows", [])
    if not rows:
        return []
    variants, directions = page["variants"], {d["name"]: d["label"] for d in page["directions"]}
    present = list(dict.fromkeys(row["direction"] for row in rows))
    codes = [code for code in variants if any(row["variant"] == code for row in rows)]
    ways = tag(
        "fieldset",
        tag("legend", "Query and answers"),
        *[_radio("direction", d, directions[d], d == present[0]) for d in present],
    )
    several = len(codes) > 1
    choice = tag(
        "fieldset",
        tag("legend", "Which queries"),
        _radio("variant", "*", "a mixture", True),
        *[_radio("variant", code, variants[code]["label"], False) for code in codes],
    )
    return [
        tag("p", gallery["rule"], class_="explain"),
        tag("form", ways if len(present) > 1 else None, choice if several else None, class_="chips needs-script"),
        tag("ol", *[_gallery_row(page, row, present[0]) for row in rows], class_="gallery"),
        tag("p", "Nothing here for this choice.", class_="none", hidden=True),
    ]


def _gallery_row(page: Part, row: Part, first: str) -> Markup:
    right = row["rank"] == 1
    variant = page["variants"].get(row["variant"], {})
    said = "right at once" if right else f"right answer at place {row['rank']:,}"
    hits: list[Node] = [_hit(i + 1, hit) for i, hit in enumerate(row["hits"])]
    if not any(hit["right"] for hit in row["hits"]):
        hits.append(tag("li", "…", class_="gap", aria_hidden="true"))
        hits.append(_hit(row["rank"], {"item": row["answer"], "right": True, "score": None}))
    wants_gloss = row["answer"]["label"] and row["answer"]["label"] != row["query"].get("text")
    return tag(
        "li",
        tag(
            "div",
            tag("span", variant.get("label", row["variant"]), class_="variant") if len(page["variants"]) > 1 else None,
            _item(row["query"], "query"),
            tag("span", row["answer"]["label"], class_="gloss") if wants_gloss else None,
            tag("span", said, class_="verdict yes" if right else "verdict no"),
            class_="ask",
        ),
        tag("ol", *hits, class_="hits"),
        data_direction=row["direction"],
        data_variant=row["variant"],
        data_mixed=bool(row.get("mixed")),
        class_="asked" if row["direction"] == first and row.get("mixed") else "asked other",
    )


def _hit(place: int, hit: Part) -> Markup:
    score = f", score {hit['score']:.3f}" if hit.get("score") is not None else ""
    judged = "right" if hit["right"] else "wrong"
    return tag(
        "li",
        _item(hit["item"], "found"),
        tag("span", f"{place:,}", class_="place"),
        tag("span", f" {judged}{score}", class_="unseen"),
        class_=f"hit {judged}",
        title=f"{place:,}. {hit['item']['label']}{score}",
    )


def _item(item: Part, role: str) -> Markup:
    """Show an item as its picture when it has one, as its text otherwise."""
    if item.get("thumb") is not None:
        return tag("span", role="img", aria_label=item["label"], class_=f"t {role}", style=_tile(item["thumb"]))
    return tag(
        "span", item.get("text") or item["label"], dir="auto", lang=item.get("lang") or None, class_=f"text {role}"
    )


def _tile(number: int) -> str:
    row, column = divmod(number, COLUMNS)
    return f"--c:{column};--r:{row}"


def _map(page: Part) -> list[Node]:
    flat = page.get("map") or {}
    points = flat.get("points", [])
    if not points:
        return []
    drawn = []
    for point in points:
        item = point["item"]
        where = ";".join(f"--x{i}:{100 * x:.2f}%;--y{i}:{100 * y:.2f}%" for i, (x, y) in enumerate(point["at"]))
        known = {"data_k": point["key"], "data_m": item["modality"], "data_n": item["label"], "aria_hidden": "true"}
        if item.get("thumb") is not None:
            drawn.append(tag("i", class_="t point", style=f"{where};{_tile(item['thumb'])}", **known))
        else:
            drawn.append(tag("i", class_="dot point", style=where, **known))
    kinds = list(dict.fromkeys(p["item"]["modality"] for p in points))
    layouts = [_radio("layout", str(i), name, i == 0) for i, name in enumerate(flat["layouts"])]
    return [
        tag("p", flat["says"], class_="explain"),
        tag(
            "div",
            tag("label", "Find ", tag("input", type="search", id="find", placeholder="a name", autocomplete="off")),
            *[
                tag("label", tag("input", type="checkbox", name="kind", value=kind, checked=True), f" {kind}")
                for kind in kinds
                if len(kinds) > 1
            ],
            tag("fieldset", tag("legend", "Layout"), *layouts) if len(layouts) > 1 else None,
            tag(
                "span",
                tag("button", "−", type="button", data_zoom="0.6667", aria_label="Zoom out"),
                tag("button", "+", type="button", data_zoom="1.5", aria_label="Zoom in"),
                class_="zoom",
            ),
            class_="chips needs-script",
        ),
        tag(
            "div",
            tag("div", Markup('<svg class="link"></svg>'), *drawn, class_="world"),
            tag("p", class_="tip", hidden=True),
            class_="map",
            role="img",
            tabindex="0",
            aria_label=flat.get("describe", "A flat map of the space"),
        ),
    ]


def _figures(page: Part) -> list[Node]:
    content: list[Node] = []
    metrics, variants = page.get("metrics", []), page.get("variants", {})
    for direction in page.get("directions", []):
        rows, chance = direction["rows"], direction["chance"]
        drawn = [
            (variants.get(code, {}).get("label", code), [(row[m], *row["intervals"][m]) for m in metrics])
            for code, row in rows.items()
        ]
        plot = plots.dots(
            drawn,
            [_metric(m) for m in metrics],
            describe=f"{direction['label']}: {', '.join(map(_metric, metrics))} with 95% intervals. "
            "The table beside it has the same figures.",
            chance=[chance[m] for m in metrics[:1]],
        )
        content += [
            tag("h3", direction["label"]),
            tag(
                "p",
                f"Every {direction['from']} is asked for its {direction['to']} among "
                f"{direction['candidates']:,} candidates.",
                class_="explain",
            ),
            tag("p", direction["relatives"], class_="explain") if direction.get("relatives") else None,
            tag("div", tag("figure", plot), _figure_table(direction, metrics, variants), class_="pair"),
        ]
    splits = page.get("over_splits")
    if splits and splits["splits"] > 1:
        content += [tag("h3", f"Mean over {splits['splits']} splits"), _split_table(splits, metrics)]
    return content


def _figure_table(direction: Part, metrics: Sequence[str], variants: Part) -> Markup:
    rows: list[Node] = []
    for code, row in direction["rows"].items():
        cells = [
            tag("td", _bare(row[m]), tag("small", _interval(*row["intervals"][m])), class_="number") for m in metrics
        ]
        name = variants.get(code, {}).get("label", code)
        rows.append(tag("tr", tag("th", name, scope="row"), tag("td", f"{row['n']:,}", class_="number"), *cells))
    foot: list[Node] = []
    if len(direction["rows"]) > 1:
        mean = direction["mean"]
        spans = {m: _interval(*mean["intervals"][m]) for m in metrics} if "intervals" in mean else {}
        cells = [tag("td", _bare(mean[m]), tag("small", spans.get(m)), class_="number") for m in metrics]
        foot.append(tag("tr", tag("th", "Mean", scope="row"), tag("td"), *cells, class_="strong"))
    cells = [tag("td", _bare(direction["chance"][m]), tag("small"), class_="number") for m in metrics]
    foot.append(tag("tr", tag("th", "Chance", scope="row"), tag("td"), *cells, class_="quiet"))
    heads = [tag("th", _metric(m), tag("small"), scope="col", class_="number") for m in metrics]
    return _table(
        f"{direction['label']}, in per cent, with the 95% interval"
        + ("; R@10: the answer is among the first ten" if "r@10" in metrics else ""),
        tag("tr", tag("th", "", scope="col"), tag("th", "queries", scope="col", class_="number"), *heads),
        rows,
        foot,
    )


def _split_table(splits: Part, metrics: Sequence[str]) -> Markup:
    labels = list(dict.fromkeys(label for row in splits["rows"] for label in row["cells"]))
    top = tag("tr", tag("td"), *[tag("th", x, scope="colgroup", colspan=len(metrics)) for x in labels])
    heads = [tag("th", _metric(m), tag("small"), scope="col", class_="number") for _ in labels for m in metrics]
    rows = []
    for row in splits["rows"]:
        cells = []
        for label in labels:
            for m in metrics:
                cell = row["cells"].get(label, {}).get(m)
                shown = (_bare(cell["mean"]), tag("small", f"± {100 * cell['sd']:.1f}")) if cell else ("–",)
                cells.append(tag("td", *shown, class_="number"))
        rows.append(
            tag("tr", tag("th", row["label"], scope="row"), *cells, class_="strong" if row.get("mean") else None)
        )
    return _table(
        "Per cent ± standard deviation between splits; each split holds out other items and trains its own space",
        join(top, tag("tr", tag("th", "", scope="col"), *heads)),
        rows,
    )


def _health(page: Part) -> list[Node]:
    figures, training = page.get("health", []), page.get("training")
    drawn: list[Node] = []
    for similarity in page.get("similarity", []):
        picture = plots.histogram(
            similarity["edges"],
            {"belong together": similarity["pairs"], "do not": similarity["others"]},
            describe=similarity["says"],
            label=f"cosine of {similarity['label']} in the space",
        )
        drawn.append(tag("figure", picture, tag("figcaption", similarity["says"])))
    if training:
        picture = plots.curve(training["losses"], describe=training["says"], label=training["label"])
        drawn.append(tag("figure", picture, tag("figcaption", training["says"])))
    table = _health_table(figures) if figures else None
    return [table, tag("div", *drawn, class_="pair even")] if figures or drawn else []


def _health_table(figures: Sequence[Part]) -> Markup:
    """Show the figures, with what they were before the alignment where any of them has that."""
    compared = any(figure.get("before") is not None for figure in figures)
    columns = [("before", "before")] * compared + [("value", "in the space")]
    rows = [
        tag(
            "tr",
            tag("th", figure["name"], scope="row"),
            *[tag("td", _number(figure.get(c)), class_="number", data_name=name) for c, name in columns],
            tag("td", figure["says"], class_="says"),
        )
        for figure in figures
    ]
    heads = [tag("th", name, scope="col", class_="number") for _, name in columns]
    return _table(
        "Measured on the held-out items"
        + ("; before: with the encoders' own vectors, where such a figure exists" if compared else ""),
        tag("tr", tag("th", "", scope="col"), *heads, tag("th", "what it says", scope="col", class_="says")),
        rows,
        class_="noted",
    )


def _hubs(page: Part) -> list[Node]:
    blocks: list[Node] = []
    for hub in page.get("hubs", []):
        picture = plots.histogram(
            hub["edges"],
            {"items": hub["counts"]},
            describe=hub["says"],
            label=hub["axis"],
            bars_at_integers=True,
        )
        top = [
            tag(
                "li",
                _item(entry["item"], "found"),
                tag("span", f"{entry['count']}×", class_="place"),
                class_="hit",
                title=f"{entry['item']['label']}: {entry['count']}",
            )
            for entry in hub["top"]
        ]
        blocks.append(
            tag(
                "div",
                tag("h3", hub["label"]),
                tag("figure", picture, tag("figcaption", hub["says"])),
                tag("p", "Found most often:", class_="explain"),
                tag("ol", *top, class_="hits"),
            )
        )
    if not blocks:
        return []
    rule = (
        "A hub is an item that many queries find, whether it answers them or not. "
        "Without hubs every item is found about equally often."
    )
    return [tag("p", rule, class_="explain"), tag("div", *blocks, class_="pair even")]


def _seconds(page: Part) -> list[Node]:
    seconds = page.get("seconds") or {}
    if not seconds.get("parts"):
        return []
    spoken = ", ".join(f"{name} {value:.1f} s" for name, value in seconds["parts"])
    picture = plots.bars([(n, float(v)) for n, v in seconds["parts"]], describe=f"Seconds: {spoken}", unit="s")
    return [tag("figure", picture, tag("figcaption", seconds["says"]), class_="narrow")]


def _made(page: Part) -> list[Node]:
    blocks = []
    for block in page.get("made", []):
        rows = [join(tag("dt", term), tag("dd", text)) for term, text in block["rows"]]
        blocks.append(tag("div", tag("h3", block["name"]), tag("dl", *rows, class_="facts")))
    return [tag("div", *blocks, class_="pair even")] if blocks else []


def _next(page: Part) -> Node:
    commands = page.get("next", [])
    if not commands:
        return None
    return join(tag("h2", "Try next"), tag("pre", tag("code", "\n".join(commands))))


def _table(
    caption: str, head: Node, rows: Sequence[Node], foot: Sequence[Node] = (), *, class_: str | None = None
) -> Markup:
    inside = [tag("caption", caption), tag("thead", head), tag("tbody", *rows), tag("tfoot", *foot) if foot else None]
    return tag(
        "div", tag("table", *inside, class_=class_), class_="scroll", tabindex="0", role="region", aria_label=caption
    )


def _radio(name: str, value: str, label: str, checked: bool) -> Markup:
    return tag("label", tag("input", type="radio", name=name, value=value, checked=checked), tag("span", label))


def _metric(name: str) -> str:
    return name.upper() if name.startswith("r@") else name


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%" if value < 0.1 else f"{100 * value:.0f}%"


def _bare(value: float) -> str:
    return f"{100 * value:.1f}"


def _interval(low: float, high: float) -> str:
    return f"{100 * low:.0f}–{100 * high:.0f}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    written = f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return written.replace("-", "−")
