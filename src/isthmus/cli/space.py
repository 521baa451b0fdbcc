"""`isthmus space build|show`: the default space, and what a space was trained on and measured with."""

from typing import Annotated

from cyclopts import App, Parameter

from isthmus.cli import console
from isthmus.cli.console import Common, common
from isthmus.core.errors import NotFound

__all__ = ["app"]

app = App(name="space", help="The default space: build it, show how good it is.")
Flag = Annotated[bool, Parameter(negative="")]
DEFAULT = "default"


@app.command
def build(name: str = DEFAULT, *, fresh: Flag = False, options: Common = common) -> None:
    """Build the default space of pictures, texts in many languages and speech; it goes on where it stopped.

    Args:
        name: Which space: default is the only one that has a recipe.
        fresh: Fit it again, even if nothing has changed.
        options: Device, batch size, seed, JSON.
    """
    from isthmus.workbench import default_space

    if name != DEFAULT:
        raise NotFound.named("space to build", name, [DEFAULT], hint="`isthmus align` makes one of your own")
    with console.progress() as progress:
        default_space.build(
            fresh=fresh,
            seed=options.seed,
            device=options.device,
            batch_size=options.batch_size,
            progress=progress,
        )
    show(json=options.json)


@app.command
def show(name: str = DEFAULT, *, json: Flag = False) -> None:
    """Show what a space maps, what it was trained on, and the figures of what was held out.

    Args:
        name: default, or the folder of a space (./default for a folder of that name).
        json: Write JSON.
    """
    from isthmus.space import Space
    from isthmus.workbench import spaces

    space = spaces.default() if name == DEFAULT else Space.load(name)
    listed = ("keys", "held_out", "parts")  # thousands of them
    training = {k: v for k, v in space.card.get("training", {}).items() if k not in listed}
    maps = {m: each.fingerprint.to_json() for m, each in space.maps.items()}
    if json:
        console.emit({**space.card, "training": training, "dim": space.dim, "digest": space.digest, "maps": maps})
        return
    console.table(
        f"space {space.card.get('name', '')} of width {space.dim}",
        ["modality", "encoder", "records"],
        [(m, f["encoder"], training.get("records", {}).get(m)) for m, f in maps.items()],
    )
    rows = [
        (source, way.replace("_to_", " → "), variant, figures["n"], figures["gallery"], figures["r@1"], figures["r@10"])
        for source, pairs in space.card.get("figures", {}).items()
        for found in pairs.values()
        for way, variants in found["directions"].items()
        for variant, figures in _worth_showing(variants)
    ]
    if rows:
        columns = ["data set", "direction", "variant", "queries", "among", "R@1", "R@10"]
        console.table("held-out items", columns, rows)
    kinds = [
        (source, kind, way.replace("_to_", " → "), figures["n"], figures["r@1"], figures["r@10"])
        for source, by_kind in space.card.get("kinds", {}).items()
        for kind, ways in by_kind.items()
        for way, figures in ways.items()
    ]
    if kinds:
        console.table("by the kind of picture", ["data set", "kind", "direction", "queries", "R@1", "R@10"], kinds)


def _worth_showing(variants: dict[str, dict[str, float]]) -> list[tuple[str, dict[str, float]]]:
    """Return the variants, the most queries first, of many only the first ten; the others are in the JSON."""
    return sorted(variants.items(), key=lambda item: -item[1]["n"])[:10]
