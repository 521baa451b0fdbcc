"""Small plots as inline SVG, coloured by the page's own CSS variables so that they follow light and dark.

Every function returns one element with a `role="img"` and a spoken description. Sizes are in the units of the
view box; the page scales it to the width it has. Series are told apart by shape or order as well as by colour.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from isthmus.workbench.report_page.markup import Markup, Node, tag

__all__ = ["bars", "curve", "dots", "grouped", "histogram", "ticks"]

WIDTH = 420
"""Of the view box: letters of 11 units are 13 pixels in half of a wide page and 9 on a telephone."""

Interval = tuple[float, float, float]
"""A value with the ends of its interval."""

Place = Callable[[float], float]
"""From a value to its place on an axis."""


def dots(
    rows: Sequence[tuple[str, Sequence[Interval]]],
    series: Sequence[str],
    *,
    describe: str,
    chance: Sequence[float] = (),
    width: int = WIDTH,
) -> Markup:
    """Draw one line a row and on it one dot with its interval a series; `chance` draws a dashed line a series.

    Values are shares (0 to 1) and are labelled in per cent.
    """
    left, right, top, step = 82, 12, 26, 26
    height = top + step * len(rows) + 26
    limit = max((high for _, values in rows for _, _, high in values), default=1.0)
    marks = ticks(0.0, min(1.0, limit * 1.02))
    x = _scale(0.0, max(marks[-1], limit * 1.02), left, width - right)
    body: list[Node] = _grid(marks, x, top - 8, height - 24, _percent)
    body += [tag("line", x1=x(level), x2=x(level), y1=top - 8, y2=height - 24, class_="chance") for level in chance]
    for i, (label, values) in enumerate(rows):
        y = top + step * i + step / 2
        body.append(tag("text", label, x=left - 10, y=y + 4, class_="row"))
        for s, (value, low, high) in enumerate(values):
            said = f"{label}, {series[s]}: {_percent(value)} (95% interval {_percent(low)} to {_percent(high)})"
            shape = _mark(s, x(value), y)
            span = tag("line", x1=x(low), x2=x(high), y1=y, y2=y, class_=f"span s{s}")
            body.append(tag("g", tag("title", said), span, shape))
    legend = _legend(list(series), left) if len(series) > 1 else []
    return _svg(width, height, describe, legend, body)


def histogram(
    edges: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *,
    describe: str,
    label: str,
    marks: Mapping[str, float] | None = None,
    bars_at_integers: bool = False,
    width: int = WIDTH,
    height: int = 190,
) -> Markup:
    """Draw the counts of each series between `edges` as steps, each scaled to its own largest count.

    `marks` draws a labelled upright line at a value. With `bars_at_integers` the edges are counts and each bar
    is labelled in its middle, the highest with its count.
    """
    left, right, top, bottom = 14, 14, 26, 40
    x = _scale(edges[0], edges[-1], left, width - right)
    floor = height - bottom
    body: list[Node] = []
    if bars_at_integers:
        stride = max(1, math.ceil((len(edges) - 1) / 16))
        body += [
            tag("text", f"{math.ceil(edges[i]):g}", x=(x(edges[i]) + x(edges[i + 1])) / 2, y=floor + 15, class_="tick")
            for i in range(0, len(edges) - 1, stride)
        ]
    else:
        body += _grid(ticks(edges[0], edges[-1]), x, top, floor, lambda v: f"{v:g}")
    for s, counts in enumerate(series.values()):
        peak = max(max(counts), 1e-12)
        if bars_at_integers:
            for i, count in enumerate(counts):
                h = (floor - top) * count / peak
                # a count that is there must be seen, however small beside the peak
                h = max(h, 1.5) if count else 0.0
                said = f"{math.ceil(edges[i]):g}: {count:g}"
                shape = {"x": x(edges[i]) + 1, "y": floor - h, "width": max(x(edges[i + 1]) - x(edges[i]) - 2, 1.0)}
                body.append(tag("rect", tag("title", said), **shape, height=h, class_=f"bar s{s}"))
            highest = max(range(len(counts)), key=lambda i: counts[i])
            middle = (x(edges[highest]) + x(edges[highest + 1])) / 2
            body.append(tag("text", f"{peak:g}", x=middle, y=top - 5, class_="peak"))
            continue
        points = [(x(edges[0]), float(floor))]
        for i, count in enumerate(counts):
            y = floor - (floor - top) * count / peak
            points += [(x(edges[i]), y), (x(edges[i + 1]), y)]
        points.append((x(edges[-1]), float(floor)))
        body.append(tag("path", d=_path(points), class_=f"area s{s}"))
    body.append(tag("line", x1=left, x2=width - right, y1=floor, y2=floor, class_="axis"))
    for name, value in (marks or {}).items():
        body.append(tag("line", x1=x(value), x2=x(value), y1=top, y2=floor, class_="chance"))
        anchor = "end" if x(value) > width * 0.7 else "start"
        shift = -6 if anchor == "end" else 6
        body.append(tag("text", name, x=x(value) + shift, y=top + 10, class_="key", text_anchor=anchor))
    body.append(tag("text", label, x=(left + width - right) / 2, y=height - 6, class_="axis-label"))
    legend: list[Node] = []
    at = float(left)
    if len(series) > 1:
        for s, name in enumerate(series):
            legend += [
                tag("rect", x=at, y=3, width=11, height=11, rx=2, class_=f"area s{s}"),
                tag("text", name, x=at + 17, y=12, class_="key"),
            ]
            at += 34 + 6.6 * len(name)
    return _svg(width, height, describe, legend, body)


def grouped(
    names: Sequence[str],
    series: Mapping[str, Sequence[float]],
    *,
    describe: str,
    label: str,
    width: int = WIDTH,
    height: int = 190,
) -> Markup:
    """Draw a bar of each series for each name, side by side, all to one scale and with their values above."""
    left, right, top, bottom = 14, 14, 40, 40
    floor = height - bottom
    peak = max([*(v for values in series.values() for v in values), 1e-12])
    step = (width - left - right) / max(1, len(names))
    thick = 0.8 * step / max(1, len(series))
    body: list[Node] = []
    for i, name in enumerate(names):
        start = left + i * step + 0.1 * step
        body.append(tag("text", name, x=left + (i + 0.5) * step, y=floor + 15, class_="tick"))
        for s, (of, values) in enumerate(series.items()):
            h = max((floor - top) * values[i] / peak, 1.5) if values[i] else 0.0
            x = start + s * thick
            said = tag("title", f"{of}, {name}: {values[i]:g}")
            body.append(tag("rect", said, x=x + 0.5, y=floor - h, width=thick - 1, height=h, class_=f"bar s{s}"))
            if values[i]:
                body.append(tag("text", f"{values[i]:g}", x=x + thick / 2, y=floor - h - 4, class_="peak"))
    body.append(tag("line", x1=left, x2=width - right, y1=floor, y2=floor, class_="axis"))
    body.append(tag("text", label, x=width / 2, y=height - 6, class_="axis-label"))
    return _svg(width, height, describe, _legend(list(series), left), body)


def _legend(names: Sequence[str], left: float) -> list[Node]:
    legend: list[Node] = []
    at = float(left)
    for s, name in enumerate(names):
        legend += [
            tag("rect", x=at, y=3, width=11, height=11, rx=2, class_=f"area s{s}"),
            tag("text", name, x=at + 17, y=12, class_="key"),
        ]
        at += 34 + 6.6 * len(name)
    return legend


def bars(parts: Sequence[tuple[str, float]], *, describe: str, unit: str, width: int = WIDTH) -> Markup:
    """Draw one bar a part from zero, with its value at its end."""
    left, right, step = 100, 56, 24
    height = step * len(parts) + 6
    x = _scale(0.0, max((v for _, v in parts), default=1.0) or 1.0, left, width - right)
    body: list[Node] = []
    for i, (name, value) in enumerate(parts):
        y = 3 + step * i
        body += [
            tag("text", name, x=left - 10, y=y + 16, class_="row"),
            tag("rect", x=left, y=y + 4, width=max(x(value) - left, 1.0), height=step - 10, rx=3, class_="bar s0"),
            tag("text", f"{_number(value)} {unit}", x=max(x(value), left + 1) + 8, y=y + 16, class_="value"),
        ]
    return _svg(width, height, describe, [], body)


def curve(values: Sequence[float], *, describe: str, label: str, width: int = WIDTH, height: int = 190) -> Markup:
    """Draw a series of values (a loss by step) as a line over its index."""
    left, right, top, bottom = 44, 14, 12, 40
    low, high = min(values), max(values)
    marks = ticks(low, high)
    y = _scale(min(low, marks[0]), max(high, marks[-1]), height - bottom, top)
    x = _scale(0, max(len(values) - 1, 1), left, width - right)
    body: list[Node] = []
    for mark in marks:
        body += [
            tag("line", x1=left, x2=width - right, y1=y(mark), y2=y(mark), class_="grid"),
            tag("text", f"{mark:g}", x=left - 8, y=y(mark) + 4, class_="row"),
        ]
    drawn = [(x(i), y(v)) for i, v in enumerate(values)]
    body.append(tag("path", d=_path(drawn), class_="stroke s0"))
    body.append(tag("text", label, x=(left + width - right) / 2, y=height - 6, class_="axis-label"))
    return _svg(width, height, describe, [], body)


def ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Return round values within [low, high], about `wanted` of them.

    >>> ticks(0.0, 0.63)
    [0.0, 0.2, 0.4, 0.6]
    """
    if not high > low:
        return [low]
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= raw * 0.999)
    # the step is a short decimal, so rounding to its place gives the numbers people write
    digits = max(0, -math.floor(math.log10(step)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, digits) for i in range(first, last + 1)] or [low]


def _scale(low: float, high: float, start: float, stop: float) -> Place:
    span = (high - low) or 1.0
    return lambda value: start + (stop - start) * (value - low) / span


def _grid(marks: Sequence[float], x: Place, top: float, floor: float, write: Callable[[float], str]) -> list[Node]:
    lines: list[Node] = []
    for mark in marks:
        lines += [
            tag("line", x1=x(mark), x2=x(mark), y1=top, y2=floor, class_="grid"),
            tag("text", write(mark), x=x(mark), y=floor + 15, class_="tick"),
        ]
    return lines


def _mark(series: int, x: float, y: float) -> Markup:
    """Return the series' own shape: disc, square, diamond, ring."""
    if series == 0:
        return tag("circle", cx=x, cy=y, r=4.2, class_="mark s0")
    if series == 1:
        return tag("rect", x=x - 3.8, y=y - 3.8, width=7.6, height=7.6, class_="mark s1")
    if series == 2:
        return tag("path", d=f"M{x - 5:.1f} {y:.1f} l5 -5 5 5 -5 5z", class_="mark s2")
    return tag("circle", cx=x, cy=y, r=3.6, class_=f"mark ring s{series}")


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in points)


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _svg(width: int, height: int, describe: str, *groups: Sequence[Node]) -> Markup:
    inside = [tag("g", *group) for group in groups if group]
    return tag("svg", *inside, viewBox=f"0 0 {width} {height}", role="img", aria_label=describe, class_="plot")
