"""How commands talk: progress and tables for people on a terminal, JSON for programs."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from isthmus.core.errors import BadInput
from isthmus.core.progress import Progress

__all__ = ["Common", "assignments", "common", "emit", "heading", "markdown", "note", "progress", "prose", "table"]
stdout = Console()
stderr = Console(stderr=True)


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """Options that every verb of the loop takes."""

    device: str = "cpu"
    "Where encoders and training run: cpu, cuda, cuda:1, mps."
    batch_size: int = 64
    "Items an encoder gets at a time."
    seed: int = 0
    "Decides everything random."
    json: Annotated[bool, Parameter(negative="")] = False
    "Write the result as JSON to standard output."


common = Common()


class Rate(ProgressColumn):
    """Units a second."""

    def render(self, task: Task) -> Text:
        """Return the rate as text: that of late, or over the whole stage when it was too short for that."""
        rate = task.finished_speed or task.speed
        if not rate and task.elapsed:
            # what was there before this run must not count
            rate = (task.completed - task.fields["before"]) / task.elapsed
        return Text(f"{rate:,.{0 if rate >= 10 else 1}f}/s" if rate else "")


@contextmanager
def progress() -> Iterator[Progress]:
    """Yield a `Progress` that draws one bar a stage on standard error, with rate and remaining time."""
    bars = Bars(
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        console=stderr,
    )
    stages: dict[str, TaskID] = {}

    def show(stage: str, done: int, total: int | None) -> None:
        bars.start()  # not before there is something to show: an error at once is then one line alone
        if stage not in stages:
            stages[stage] = bars.add_task(stage, total=total, completed=done, before=done)
        else:
            bars.update(stages[stage], completed=done, total=total)

    try:
        yield show
    finally:
        if stages:
            bars.stop()


def emit(value: Any) -> None:
    """Write a value as JSON to standard output."""
    # what a program reads must survive an output that is not UTF-8 (a pipe on Windows)
    escaped = (sys.stdout.encoding or "utf-8").lower().replace("-", "") != "utf8"
    json.dump(value, sys.stdout, ensure_ascii=escaped, indent=1, default=_plain)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def note(text: str) -> None:
    """Tell the person something, on standard error."""
    stderr.print(text, highlight=False, markup=False, soft_wrap=True)


def heading(text: str) -> None:
    """Print the title of what follows."""
    stdout.print(Text(text, style="bold"))


def prose(text: str) -> None:
    """Print a text as it is, wrapped."""
    stdout.print(text, highlight=False, markup=False)


def markdown(text: str) -> None:
    """Print a docstring: paragraphs, lists, indented equations, and examples as they would be typed."""
    from rich.markdown import Markdown

    blocks = (f"```\n{block}\n```" if block.startswith(">>>") else block for block in text.split("\n\n"))
    stdout.print(Markdown("\n\n".join(blocks), code_theme="bw"))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, caption: str = "") -> None:
    """Print a table under its title; numbers are right-aligned, a None is an empty cell."""
    drawn = Table()
    for i, column in enumerate(columns):
        cells = [row[i] for row in rows if row[i] is not None]
        drawn.add_column(column, justify="right" if cells and all(map(_is_number, cells)) else "left")
    for row in rows:
        drawn.add_row(*(Text(_cell(cell)) for cell in row))  # Text: square brackets in data are no markup
    heading(title)
    stdout.print(drawn)
    if caption:
        prose(caption)


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _cell(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:.3f}" if abs(cell) < 10 else f"{cell:,.1f}"
    return str(cell)


def assignments(option: str, pairs: Sequence[str]) -> Mapping[str, str]:
    """Read repeated ``name=value`` options."""
    read: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise BadInput(f"{option} {pair!r} is not of the form NAME=VALUE")
        if name in read:
            raise BadInput(f"{option} {name} is given twice: {read[name]} and {value}")
        read[name] = value
    return read
