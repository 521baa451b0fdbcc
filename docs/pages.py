"""Pages that nobody writes by hand: one for each verb, method and data set, from the places where the facts stand."""

import inspect
import re
import shutil
from collections import defaultdict
from pathlib import Path

from isthmus import data
from isthmus.cli import GROUPS, app
from isthmus.core import catalog
from isthmus.core.catalog import Entry
from isthmus.encoders import available
from isthmus.workbench import bench, results

__all__ = ["write"]

MADE = ("verbs", "methods", "data")
"""Folders that are made anew with every build; the repository ignores them."""


def write(docs: Path) -> None:
    """Write all of them under a folder."""
    for name in MADE:
        shutil.rmtree(docs / name, ignore_errors=True)
        (docs / name).mkdir(parents=True)
    verbs(docs / "verbs")
    methods(docs / "methods")
    sets(docs / "data")


def contents(folder: Path, title: str, text: str, names: list[str]) -> None:
    """Write the page beside a folder that leads to its pages (one of the verbs is called index)."""
    listed = "\n".join(f"{folder.name}/{name}" for name in names)
    page = f"# {title}\n\n{text}\n\n```{{toctree}}\n:hidden:\n:maxdepth: 1\n\n{listed}\n```\n"
    folder.with_suffix(".md").write_text(page, encoding="utf-8")


def table(columns: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def verbs(folder: Path) -> None:
    """A page a verb, from the command line's own help."""
    text, names = [], []
    for group, commands in GROUPS.items():
        rows = []
        for name, (_, line) in commands.items():
            page = app[name].generate_docs(output_format="markdown", heading_level=1, usage_name=f"isthmus {name}")
            page = re.sub(r"^# .*$", f"# isthmus {name}", page, count=1, flags=re.M)
            page = re.sub(r"## Table of Contents\n.*?(?=\n\*\*|\n## )", "", page, flags=re.S)
            page = re.sub(r"\[`([^`]+)`\]\(#[^)]+\)", r"`\1`", page)
            page = page.replace(f"\n{name} ", f"\nisthmus {name} ")
            (folder / f"{name}.md").write_text(page, encoding="utf-8")
            rows.append([f"[{name}](verbs/{name}.md)", line])
            names.append(name)
        text.append(f"## {group}\n\n{table(['verb', 'what it does'], rows)}")
    contents(folder, "Verbs", "Every verb takes `--json`, and goes on where it stopped.\n\n" + "\n\n".join(text), names)


def methods(folder: Path) -> None:
    """A page a method: its docstring, its card, and what was measured."""
    families = defaultdict(list)
    for entry in catalog.walk():
        families[entry.family].append(entry)
        (folder / f"{entry.name}.md").write_text(method(entry), encoding="utf-8")
    text = [
        f"## {family}\n\n"
        + table(
            ["method", "what you get", "claim", "measured"],
            [[f"[{e.name}](methods/{e.name}.md)", e.card.summary, str(e.card.claim), measured(e)] for e in entries],
        )
        for family, entries in sorted(families.items())
    ]
    names = [e.name for entries in families.values() for e in entries]
    lead = (
        "Published methods behind one contract. The claim stands in the card before it is measured; one that does not "
        "hold here is shown as such.\n\n"
    )
    contents(folder, "Methods", lead + "\n\n".join(text), names)


def measured(entry: Entry) -> str:
    """Return the verdict on the headline claim in words."""
    if results.stored(entry) is None:
        return "not measured yet"
    known = bench.show(entry.name)
    return f"{known['gain']:+.4f} ± {known['half']:.4f}, {'holds' if known['holds'] else 'does not hold'}"


def method(entry: Entry) -> str:
    """Return the page of a method."""
    card = entry.card
    known = bench.show(entry.name)
    parts = [
        f"# {entry.name}",
        f"**{card.title}** ({card.year})  \n{', '.join(card.authors)}  \n<{card.link}>",
        listed("Needs", card.needs),
        listed("Gives", card.gives),
        f"## Claim\n\n{card.claim}. Control: {card.claim.control}. Measured: **{measured(entry)}**.",
    ]
    if card.uses:
        rows = [[f"[{use.split()[0]}](../verbs/{use.split()[0]}.md)", f"`{name}`"] for use, name in card.uses.items()]
        parts.append("## From the command line\n\n" + table(["verb", "served by"], rows))
    parts.append("## About\n\n" + docstring(known["text"]))
    rows = [
        [what, f"`{where}`" if not where.startswith("missing:") else where] for what, where in card.delivers.items()
    ]
    parts.append("## Delivered\n\n" + table(["what", "where"], rows))
    if card.gaps:
        parts.append(listed("Not there", card.gaps))
    return "\n\n".join(parts) + "\n"


def listed(title: str, items: tuple[str, ...]) -> str:
    """Return a section that is a list."""
    return f"## {title}\n\n" + "\n".join(f"- {item}" for item in items)


def docstring(text: str) -> str:
    """Return a docstring as Markdown: doctests as code."""
    text = inspect.cleandoc(text)
    return re.sub(r"(?m)^(>>> (?:.*\n?)+)\Z", lambda found: f"```pycon\n{found.group(1).rstrip()}\n```", text)


def sets(folder: Path) -> None:
    """A page a data set, and the encoders that come with packages."""
    cards = data.cards()
    for name, card in cards.items():
        rows = [
            ["licence", card.licence],
            ["attribution", card.attribution or "—"],
            ["packages", ", ".join(card.packages) or "—"],
            ["extra", f"`isthmus[{card.extra}]`" if card.extra else "—"],
            ["how much", card.counts],
            ["modalities", ", ".join(card.modalities)],
            ["held out by", card.split],
            ["near-duplicates", card.near_duplicates],
        ]
        page = f"# {name}\n\n{card.title}\n\n{table(['', ''], rows)}\n"
        (folder / f"{name}.md").write_text(page, encoding="utf-8")
    rows = [
        [f"[{name}](data/{name}.md)", card.title, ", ".join(card.modalities), card.licence]
        for name, card in cards.items()
    ]
    text = table(["set", "what it is", "modalities", "licence"], rows)
    known = [[e.name, ", ".join(e.modalities), f"`isthmus[{e.extra}]`"] for e in available().values()]
    text += "\n\n## Encoders\n\n" + table(["name", "reads", "extra"], known)
    contents(folder, "Data sets and encoders", text, list(cards))
