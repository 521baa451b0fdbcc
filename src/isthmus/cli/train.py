"""`train`: an encoder or a map, learned from data."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from isthmus.cli import console
from isthmus.cli.console import Common, common

__all__ = ["train"]

Repeated = Parameter(negative="")


def train(
    method: str | None = None,
    *sources: str,
    set: Annotated[list[str] | None, Repeated] = None,
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    out: Path | None = None,
    fresh: Annotated[bool, Parameter(negative="")] = False,
    every: int = 100,
    tensorboard: Annotated[bool, Parameter(negative="")] = False,
    processes: int = 1,
    options: Common = common,
) -> None:
    """Train a small dual encoder on data sets, or maps on a store; again, it goes on where it stopped.

    Args:
        method: A dual encoder (dual, dual_vit, dual_tiny), or a method that fits maps (see `isthmus methods`).
        sources: Data sets or folders with pictures and texts, or the store that maps learn from.
        set: Settings such as steps=500, or options of a data set such as world.max_objects=3; repeat for more.
        from_: A settings file, the run.json of an earlier run.
        out: Folder of the result (default for a dual encoder: the cache, where its name finds it).
        fresh: Begin anew where there is a training already.
        every: Steps between two checkpoints.
        tensorboard: Write the figures for TensorBoard too.
        processes: Processes that share every batch.
        options: Device, batch size, seed, JSON.
    """
    from isthmus.workbench.train import planned
    from isthmus.workbench.train import train as run

    plan = planned(method, sources, settings=console.assignments("--set", set or []), run=from_, seed=options.seed)
    with console.progress() as progress:
        record = run(
            plan,
            out=out,
            fresh=fresh,
            every=every,
            tensorboard=tensorboard,
            processes=processes,
            device=options.device,
            seed=options.seed,
            progress=progress,
        )
    if options.json:
        console.emit(record)
        return
    spent = f", {record['seconds']:,.0f} s by the clock" if "seconds" in record else ""
    console.note(
        f"{plan.method} trained on {record['items']:,} items of {', '.join(plan.data)}{spent}; in {record['folder']}"
    )
