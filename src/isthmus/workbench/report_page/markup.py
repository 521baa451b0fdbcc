"""HTML and SVG elements as values: text is escaped where it enters, so no string of the data can become markup.

>>> str(tag("p", "a < b ", tag("b", "c"), class_="note"))
'<p class="note">a &lt; b <b>c</b></p>'
"""

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

__all__ = ["Markup", "Node", "join", "tag"]

VOID = frozenset({"br", "col", "hr", "image", "img", "input", "line", "link", "meta", "path", "rect", "circle"})


class Markup(str):
    """Text that is markup already and must not be escaped again."""

    __slots__ = ()


Node: TypeAlias = "str | int | float | Iterable[Node] | None"


def join(*children: Node) -> Markup:
    """Return children one after another: strings escaped, `Markup` as it stands, None left out."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str | int | float):
            parts.append(escape(str(child), quote=False))
        else:
            parts.append(join(*child))
    return Markup("".join(parts))


def tag(name: str, /, *children: Node, **attributes: "str | int | float | bool | None") -> Markup:
    """Return one element; ``class_`` stands for ``class``, ``aria_label`` for ``aria-label``.

    Attributes that are None or False are left out, True stands without a value.
    An SVG shape may have a child (its ``title``); without one it is closed at once.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(_text(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    inside = join(*children)
    if name in VOID and not inside:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{inside}</{name}>")


def _text(value: "str | int | float") -> str:
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1e4 else str(value)
