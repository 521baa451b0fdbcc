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

__all__ = ["Common", "assignments", "common", "emit", "note", "progress", "table"]

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
        """Return the rate as text, or nothing before the first measurement."""
        return Text(
            f"{task.speed:,.0f}/s" if task.speed and task.speed >= 10 else f"{task.speed:.1f}/s" if task.speed else ""
        )


@contextmanager
def progress() -> Iterator[Progress]:
    """Yield a `Progress` that draws one bar a stage on standard error, with rate and remaining time."""
    with Bars(
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        console=stderr,
    ) as bars:
        stages: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int | None) -> None:
            if stage not in stages:
                # what was there before this run must not count towards its rate
                stages[stage] = bars.add_task(stage, total=total, completed=done)
            else:
                bars.update(stages[stage], completed=done, total=total)

        yield show


def emit(value: Any) -> None:
    """Write a value as JSON to standard output."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=1, default=_plain)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def note(text: str) -> None:
    """Tell the person something, on standard error."""
    stderr.print(text, highlight=False)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; numbers are right-aligned."""
    drawn = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        numeric = all(isinstance(row[i], int | float) for row in rows)
        drawn.add_column(column, justify="right" if numeric else "left")
    for row in rows:
        drawn.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    stdout.print(drawn)


def assignments(option: str, pairs: Sequence[str]) -> Mapping[str, str]:
    """Read repeated ``name=value`` options."""
    read: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise BadInput(f"{option} {pair!r} is not of the form name=value")
        if name in read:
            raise BadInput(f"{option} {name} is given twice: {read[name]} and {value}")
        read[name] = value
    return read
