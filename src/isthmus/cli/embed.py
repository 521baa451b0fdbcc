"""`embed`: files, tables, data sets and ready-made vectors into a store."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from isthmus.cli import console
from isthmus.cli.console import Common, common
from isthmus.core.errors import BadInput

__all__ = ["embed"]

Repeated = Parameter(negative="")
REASONS = 5
"""Reasons for setting items aside that are printed; the others are in the store."""


def embed(
    source: str | None = None,
    *,
    encoder: Annotated[list[str] | None, Repeated] = None,
    out: Path,
    map: Annotated[list[str] | None, Repeated] = None,
    vectors: Annotated[list[str] | None, Repeated] = None,
    made_by: Annotated[list[str] | None, Parameter(name="--as", negative="")] = None,
    metadata: Path | None = None,
    every: float | None = None,
    knob: Annotated[list[str] | None, Repeated] = None,
    repair: Annotated[bool, Parameter(negative="")] = False,
    options: Common = common,
) -> int:
    """Encode a data set, a folder, a table or tar shards into a store; again, it goes on where it stopped.

    Args:
        source: Name of a data set (see `isthmus data list`), a folder of files, a table (.csv, .tsv, .jsonl, .parquet,
            or what `datasets` saved on disk), or .tar shards.
        encoder: Which encoder takes which modality, such as image=efficientnet_lite0; repeat for more. Without it
            those of the default space.
        out: Folder of the store.
        map: Which column of a table holds what, such as image=photo, text=title or key=sku; repeat for more.
        vectors: Ready-made vectors in the place of a source, such as image=img_emb/; repeat for more.
        made_by: What made the vectors: an encoder's name, a fingerprint in JSON, or a name of your own; for one
            modality with image=NAME.
        metadata: Parquet that names the items of ready-made vectors (default: a folder metadata beside them).
        every: Seconds between two frames of a video (default: 2).
        knob: Options of a data set, such as max_objects=3 of the world; repeat for more.
        repair: Drop the damaged parts of the store first, so that their vectors are made again.
        options: Device, batch size, seed, JSON.
    """
    with console.progress() as progress:
        if vectors:
            from isthmus.workbench.vectors import take_vectors

            if source is not None or encoder or map or every is not None or knob:
                raise BadInput("--vectors take the place of a source, --encoder, --map, --every and --knob")
            given = console.assignments("--vectors", vectors)
            store = take_vectors(given, out=out, encoder=_made_by(made_by), metadata=metadata, progress=progress)
        else:
            from isthmus import data
            from isthmus.workbench.embed import embed as run

            if source is None:
                raise BadInput("embed needs a source: a data set, a folder, a table, shards, or --vectors")
            if made_by or metadata:
                raise BadInput("--as and --metadata go with --vectors")
            how: dict[str, Any] = {"map": console.assignments("--map", map)} if map else {}
            how |= {} if every is None else {"every": every}
            how |= data.options(console.assignments("--knob", knob or []))
            store = run(
                data.load(source, **how) if how else source,
                encoders=None if encoder is None else console.assignments("--encoder", encoder),
                out=out,
                batch_size=options.batch_size,
                device=options.device,
                repair=repair,
                progress=progress,
            )
    status = store.status()
    rows = sum(n for columns in status["rows"].values() for n in columns.values())
    if options.json:
        console.emit(status)
        return int(not rows)
    console.note(f"{rows:,} vectors in {out}")
    if status["rejected"]:
        reasons = [f"{row['id']}: {row['reason']}" for row in store.rejected().to_pylist()]
        console.note(f"{len(reasons):,} set aside, all reasons in {out / 'rejected.parquet'}:")
        for reason in reasons[:REASONS]:
            console.note(f"  {reason}")
        if len(reasons) > REASONS:
            console.note(f"  and {len(reasons) - REASONS:,} more")
    return int(not rows)


def _made_by(given: list[str] | None) -> Any:
    """Return one name for all modalities, or {modality: name}."""
    if not given:
        return "vectors"
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    return console.assignments("--as", given)
