"""`isthmus data list|show`: which data sets there are, and what is in one."""

import dataclasses
from collections import Counter
from typing import Annotated

from cyclopts import App, Parameter

from isthmus import data
from isthmus.cli import console

__all__ = ["app"]

app = App(name="data", help="Data sets that come with Isthmus or with a package.")
Json = Annotated[bool, Parameter(negative="")]


@app.command(name="list")
def list_(*, json: Json = False) -> None:
    """List the data sets."""
    cards = {name: data.card(name) for name in data.names()}
    if json:
        console.emit({name: dataclasses.asdict(card) for name, card in cards.items()})
    else:
        console.table("data sets", ["name", "what", "licence"], [(n, c.title, c.licence) for n, c in cards.items()])


@app.command
def show(name: str, *, json: Json = False) -> None:
    """Show the card and the counts of a data set or a folder.

    Args:
        name: Name of a data set, or a folder.
        json: Write JSON.
    """
    dataset = data.load(name)
    counts = Counter((r.modality, r.variant) for r in dataset.records)
    figures = {
        **dataclasses.asdict(dataset.card),
        "items": len({r.key for r in dataset.records}),
        "groups": len({r.group for r in dataset.records}),
        "records": [{"modality": m, "variant": v, "n": n} for (m, v), n in sorted(counts.items())],
    }
    if json:
        console.emit(figures)
        return
    for field, value in figures.items():
        if field != "records":
            console.stdout.print(
                f"[bold]{field}[/]: {', '.join(value) if isinstance(value, tuple) else value}", highlight=False
            )
    console.table("records", ["modality", "variant", "n"], [tuple(r.values()) for r in figures["records"]])
