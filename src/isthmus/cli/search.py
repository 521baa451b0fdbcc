"""`isthmus index` and `isthmus search`."""

import shlex
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from isthmus.cli import console
from isthmus.cli.console import Common, common
from isthmus.cli.health import spoken
from isthmus.core.errors import BadInput

__all__ = ["index", "search"]

Repeated = Parameter(negative="")
Switch = Parameter(negative="")


def index(
    store: Path,
    *,
    out: Path,
    space: str | None = None,
    correct: str = "none",
    backend: str = "auto",
    update: Annotated[bool, Switch] = False,
    options: Common = common,
) -> None:
    """Map the vectors of a store through a space and make them searchable.

    Args:
        store: Folder of the store.
        space: Folder of the space, or the name of an encoder of several modalities; the default space without it.
        out: Folder of the index.
        correct: Take hubs out of every search (is, dual_is, nnn, csls, dn); tuned, and left out where it does not help.
        backend: How it is searched: exact, usearch (approximate, for many items), or auto, which chooses by size.
        update: Bring the index that is there up to date with the store: what is new, has changed, or is gone.
        options: Device, batch size, seed, JSON.
    """
    from isthmus.workbench.search import build_index, left_out, update_index

    with console.progress() as progress:
        if update:
            if space is not None or correct != "none" or backend != "auto":
                raise BadInput("--update keeps the space, the correction and the backend that the index has: name none")
            built, changes = update_index(store, out, progress=progress)
        else:
            built = build_index(store, space=space, out=out, correct=correct, backend=backend, progress=progress)
            changes = None
    status = built.status()
    lacking = left_out(store, built.space)
    if options.json:
        console.emit({**status, "left_out": lacking, **({} if changes is None else {"changes": changes})})
        return
    if changes is not None:
        console.note(", ".join(f"{n:,} {what}" for what, n in changes.items()))
    rows = ", ".join(f"{n:,} {m}" for m, n in status["rows"].items())
    approximate = {graph["backend"] for graphs in status["graphs"].values() for graph in graphs}
    console.note(f"index of {rows} in {out}" + (f", searched by {', '.join(approximate)}" if approximate else ""))
    for name, reason in lacking.items():
        console.note(f"{name} was left out: {reason}")
    if space is None and not update:
        console.note("in the default space (`isthmus space show default` says how good it is)")
    for name, chosen in (status.get("correction") or {}).items():
        on = "of its training" if chosen["validation_in_training"] else "that the space was not trained on"
        console.note(
            f"{name}: corrected by {spoken([chosen])}; {chosen['figure']} {chosen['raw']:.3f} → {chosen['found']:.3f} "
            f"with the best of {chosen['tried']} settings, on {chosen['validation_items']:,} items {on}"
        )
    if "text" in built.space.maps:
        console.note(f'try: isthmus search {shlex.quote(str(out))} "a cat laughing"')


def search(
    index: Path,
    text: str | None = None,
    *,
    image: Path | None = None,
    sound: Path | None = None,
    minus: Annotated[list[str] | None, Repeated] = None,
    k: Annotated[int | None, Parameter(alias="-k")] = None,
    modality: str | None = None,
    where: str | None = None,
    quota: Annotated[list[str] | None, Repeated] = None,
    correct: str | None = None,
    exact: Annotated[bool, Switch] = False,
    options: Common = common,
) -> None:
    """Search an index with a text, a picture, a recording, or several of them.

    A picture and a text together look for pictures like it of which the text is true ("at night"); `--minus` takes
    something away ("people").

    Where hits may be of several modalities each gets its share of the places, the best of each first: scores of
    different modalities do not compare.

    Args:
        index: Folder of the index.
        text: What to look for.
        image: A picture to look for, or pictures like it.
        sound: A recording to look for, or recordings like it.
        minus: A text of what is not wanted; repeat for more.
        k: How many hits; 10, or all that the quotas allow.
        modality: Only hits of this modality, or of several, such as image,speech; else the other one of two, or all.
        where: Only items that a filter fits, such as "category == 'animals' and year > 2000".
        quota: How many hits of a modality, such as image=5; repeat for more, and hits are of these modalities alone.
        correct: The correction that the index was built with (applied without asking), or none for plain scores.
        exact: Search exactly, whatever the backend of the index.
        options: Device, batch size, seed, JSON.
    """
    from isthmus.index.index import Index
    from isthmus.workbench.ask import ask, question
    from isthmus.workbench.search import check_correction, place

    opened = Index.open(index)
    if correct is not None:
        check_correction(opened, correct)
    limits = {m: _number(m, n) for m, n in console.assignments("--quota", quota or []).items()} or None
    hits = ask(
        opened,
        question(opened, text=text, image=image, sound=sound, minus=minus or ()),
        k=k,
        modality=[m.strip() for m in modality.split(",")] if modality else None,
        where=where,
        quota=limits,
        corrected=correct != "none",
        exact=exact,
        device=options.device,
    )
    if options.json:
        console.emit([hit.to_json() for hit in hits])
        return
    placed = [(hit, *place(hit.uri or hit.key)) for hit in hits]
    columns = ["rank", "score", "modality", "item", "at", "what"]
    rows: list[tuple[Any, ...]] = [
        (rank, hit.score, hit.modality, file, at, hit.text or hit.meta.get("name", ""))
        for rank, (hit, file, at) in enumerate(placed, start=1)
    ]
    if not any(at for *_, at in placed):
        columns, rows = [c for c in columns if c != "at"], [(*row[:4], row[5]) for row in rows]
    if where is not None and not hits:
        console.note("no item fits the filter")
    parts = [str(file) for file in (image, sound) if file] + ([] if text is None else [repr(text)])
    said = " + ".join(parts) + "".join(f" − {word!r}" for word in minus or ())
    console.table(f"{len(hits)} nearest to {said}", columns, rows)


def _number(modality: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise BadInput(f"--quota {modality}={value}: {value!r} is not a number of hits") from None
