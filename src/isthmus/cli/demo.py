"""`isthmus demo`: the whole loop on real data, by one command."""

from pathlib import Path

from isthmus.cli import console
from isthmus.cli.console import Common, common

__all__ = ["demo"]


def demo(
    *, data: str = "openmoji", out: Path = Path("isthmus-demo"), splits: int = 1, options: Common = common
) -> None:
    """Run the whole loop below on real data, and write one page to look at.

    Args:
        data: Name of a data set, or a folder.
        out: Folder for store, space, index, metrics.json and report.html.
        splits: How many concept splits to measure; the page and the index are those of the first.
        options: Device, batch size, seed, JSON.
    """
    from isthmus.workbench import demo as loop

    with console.progress() as progress:
        metrics = loop.demo(
            data,
            out=out,
            splits=splits,
            seed=options.seed,
            device=options.device,
            batch_size=options.batch_size,
            progress=progress,
        )
    if options.json:
        console.emit(metrics)
        return
    title = f"{metrics['held_out']} held-out items of {metrics['data']}, split 0"
    console.table(title, ["direction", "R@1", "R@5", "R@10"], loop.headline(metrics))
    seconds = metrics["seconds"]
    console.note(f"{seconds['total']:.0f} s in all, {seconds['raw_encoder']:.0f} s of them inside the encoders")
    console.note(f"look at {out / 'report.html'}; then try:")
    for command in loop.next_commands(out):
        console.note(f"  {command}")
