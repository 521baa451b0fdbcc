"""The catalogue on the command line: methods, show, toy, run, check, table, new."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators

from isthmus.cli import console
from isthmus.core.card import Claim
from isthmus.core.catalog import METHODS
from isthmus.core.run import Budget
from isthmus.workbench import bench, scaffold

__all__ = ["check", "methods", "new", "run", "show", "table", "toy"]

Json = Annotated[bool, Parameter(negative="")]
More = Annotated[list[Path] | None, Parameter(name="--methods", negative="")]
Stored = Annotated[Path | None, Parameter(name="--results", validator=validators.Path(exists=True, file_okay=False))]


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


def show(name: str, *, methods: More = None, results: Stored = None, json: Json = False) -> None:
    """Show everything known about a method.

    Args:
        name: Name or slug of the method.
        methods: A folder with more methods.
        results: Folder of the stored results (default: those of the source tree, or of the installed package).
        json: Write JSON.
    """
    known = bench.show(name, extra=methods or [], stored=results)
    if json:
        console.emit(known)
        return
    card = known["card"]
    console.heading(f"{card['title']} ({card['year']})")
    console.prose(f"{', '.join(card['authors'])}\n{card['link']}\n")
    console.markdown(known["text"])
    console.prose(
        f"\nClaim: {known['claim']}\nMeasured: {_measured(known)}; "
        f"{known['delivered']} of {known['total']} parts are delivered\n"
    )
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
        title = f"{made['name']}, a {made['role'].replace('_', ' ')}, in {made['seconds']:.1f} s"
        console.table(title, ["figure", "value"], list(made["demo"].items()))


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
    """Measure the claims of a method, and its controls; it goes on where it stopped.

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
    console.table(
        f"{result['name']} at {budget}, {_many(seeds, 'seed')}, {result['seconds']:.1f} s each",
        ["claim", "measured", "under its control"],
        [
            (str(Claim(**record["claim"])), _verdict(record["verdict"], budget, seeds), _control(record["control"]))
            for record in result["claims"]
        ],
    )
    if result["stored"]:
        console.note(f"stored in {result['stored']}")


def check(
    *names: str,
    methods: More = None,
    results: Stored = None,
    all: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Check methods as a reviewer would; exit code 1 when one fails.

    Args:
        names: Names of methods; all without any.
        methods: A folder with more methods.
        results: Folder of the stored results (default: those of the source tree, or of the installed package).
        all: Print what is in order too.
        json: Write JSON.
    """
    findings = bench.check(*names, extra=methods or [], stored=results)
    states = Counter(f["state"] for f in findings)
    if json:
        console.emit(findings)
    else:
        columns = ["method", "check", "state", "detail"]
        told = [tuple(f[c] for c in columns) for f in findings if all or f["state"] != "ok"]
        if told:
            console.table("findings", columns, told)
        checked = _many(len({f["method"] for f in findings}), "method")
        console.prose(
            f"{checked}: {states['ok']} in order, {_many(states['note'], 'note')}, {states['fail']} to be mended"
        )
    return 1 if states["fail"] else 0


def table(*, methods: More = None, results: Stored = None, json: Json = False) -> None:
    """Print every method with its headline claim and what was measured.

    Args:
        methods: A folder with more methods.
        results: Folder of the stored results (default: those of the source tree, or of the installed package).
        json: Write JSON.
    """
    rows = bench.table(extra=methods or [], stored=results)
    if json:
        console.emit(rows)
        return
    columns = ["method", "claim", "measured", "delivered"]
    shown = [(r["name"], r["claim"], _measured(r), f"{r['delivered']}/{r['total']}") for r in rows]
    console.table("claims at small, 5 seeds", columns, shown)


def new(target: str, *, methods: Path = METHODS) -> None:
    """Write the file of a new method and its test from a template.

    Args:
        target: FAMILY/NAME, such as spaces/my_method.
        methods: The folder to write into (default: the one of this source tree).
    """
    for path in scaffold.new(target, methods=methods):
        console.note(f"wrote {path}")


def _many(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _verdict(judged: Mapping[str, Any] | None, budget: str, seeds: int) -> str:
    if judged is None:
        return f"no verdict at {budget} with {_many(seeds, 'seed')}"
    return f"{judged['gain']:+.4f} ± {judged['half']:.4f}, {'holds' if judged['holds'] else 'does not hold'}"


def _control(control: Mapping[str, Any] | None) -> str | None:
    if control is None:
        return None
    return f"{control['kind']}: {'holds too, so it says nothing' if control['holds'] else 'does not hold, as it must'}"


def _measured(row: Mapping[str, Any]) -> str:
    """Say what was measured of a headline claim."""
    if row["gain"] is None:
        return "not yet"
    said = _verdict(row, "small", 5)
    if row["control_holds"]:
        said += f", but under {row['control']} too"
    if row["stale"]:
        said += "; stale: the method has changed since"
    return said
