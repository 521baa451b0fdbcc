"""The catalogue on the command line: methods, show, toy, run, check, table, new."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from isthmus.cli import console
from isthmus.core.catalog import METHODS
from isthmus.core.run import Budget
from isthmus.workbench import bench, scaffold

__all__ = ["check", "methods", "new", "run", "show", "table", "toy"]

Json = Annotated[bool, Parameter(negative="")]
More = Annotated[list[Path] | None, Parameter(name="--methods", negative="")]


def methods(*, family: str | None = None, methods: More = None, json: Json = False) -> None:
    """List the methods of the catalogue.

    Args:
        family: Only this family.
        methods: A folder with more methods; repeat for more.
        json: Write JSON.
    """
    listed = bench.methods(family, extra=methods or [])
    if json:
        console.emit(listed)
    else:
        rows = [(m["name"], m["family"], m["year"], m["summary"]) for m in listed]
        console.table("methods", ["name", "family", "year", "what you get"], rows)


def show(name: str, *, methods: More = None, json: Json = False) -> None:
    """Show everything known about a method.

    Args:
        name: Name or slug of the method.
        methods: A folder with more methods.
        json: Write JSON.
    """
    known = bench.show(name, extra=methods or [])
    if json:
        console.emit(known)
        return
    card = known["card"]
    console.stdout.print(f"[bold]{card['title']}[/] ({card['year']})\n{', '.join(card['authors'])}\n{card['link']}\n")
    console.stdout.print(known["text"], highlight=False, markup=False)
    if known["missing"]:
        console.table("not delivered", ["what", "why"], list(known["missing"].items()))


def toy(name: str, *, methods: More = None, json: Json = False) -> None:
    """Run the tiny instance of a method.

    Args:
        name: Name or slug of the method.
        methods: A folder with more methods.
        json: Write JSON.
    """
    made = bench.toy(name, extra=methods or [])
    if json:
        console.emit(made)
    else:
        console.table(f"{name}: {made['role']}, {made['seconds']} s", ["figure", "value"], list(made["demo"].items()))


def run(
    name: str,
    *,
    budget: Budget = "small",
    seeds: int = 5,
    out: Path | None = None,
    fresh: bool = False,
    methods: More = None,
    json: Json = False,
) -> None:
    """Measure the claims of a method, and its controls; goes on where it was stopped.

    Args:
        name: Name or slug of the method.
        budget: smoke is for tests, small for the stored result, full for the curious.
        seeds: How many paired seeds.
        out: Folder for the result (default: results/ of the source tree, at small with 5 seeds or more).
        fresh: Measure finished seeds again.
        methods: A folder with more methods.
        json: Write JSON.
    """
    with console.progress() as progress:
        result = bench.run(
            name, budget=budget, seeds=seeds, out=out, fresh=fresh, extra=methods or [], progress=progress
        )
    if json:
        console.emit(result)
        return
    for record in result["claims"]:
        claim, verdict = record["claim"], record["verdict"]
        said = f"{claim['better']} > {claim['than']} in {claim['metric']} ({claim['task']}), margin {claim['margin']:g}"
        if verdict is None:
            console.stdout.print(f"{said}: no verdict at {budget} with {seeds} seeds")
            continue
        state = "holds" if verdict["holds"] else "does not hold"
        console.stdout.print(f"{said}: {verdict['gain']:+.4f} ± {verdict['half']:.4f}, {state}", highlight=False)
        if control := record["control"]:
            console.stdout.print(f"  control {control['kind']}: {'HOLDS' if control['holds'] else 'does not hold'}")
    if result["stored"]:
        console.note(f"stored in {result['stored']}")


def check(*names: str, methods: More = None, json: Json = False) -> int:
    """Check methods as a reviewer would: card, what it delivers, stored result. Exit code 1 when one fails.

    Args:
        names: Names of methods; all without any.
        methods: A folder with more methods.
        json: Write JSON.
    """
    findings = bench.check(*names, extra=methods or [])
    if json:
        console.emit(findings)
    elif findings:
        columns = list(findings[0])
        console.table("findings", columns, [tuple(f[c] for c in columns) for f in findings])
    return 1 if any(f["state"] == "fail" for f in findings) else 0


def table(*, methods: More = None, json: Json = False) -> None:
    """Print every method with its headline claim and what was measured.

    Args:
        methods: A folder with more methods.
        json: Write JSON.
    """
    rows = bench.table(extra=methods or [])
    if json:
        console.emit(rows)
        return
    shown = ["name", "family", "metric", "better", "than", "by", "gain", "half", "holds", "control_holds", "stale"]
    console.table(
        "claims at small, 5 seeds",
        [*shown, "delivered"],
        [(*("" if row[c] is None else row[c] for c in shown), f"{row['delivered']}/{row['total']}") for row in rows],
    )


def new(target: str, *, methods: Path = METHODS) -> None:
    """Write the file of a new method and its test from a template.

    Args:
        target: FAMILY/NAME, such as spaces/my_method.
        methods: The folder to write into (default: the one of this source tree).
    """
    for path in scaffold.new(target, methods=methods):
        console.note(f"wrote {path}")
