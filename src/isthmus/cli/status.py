"""`isthmus status`: what a store or an index holds."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from isthmus.cli import console

__all__ = ["status"]

Switch = Parameter(negative="")


def status(path: Path, *, verify: Annotated[bool, Switch] = False, json: Annotated[bool, Switch] = False) -> int:
    """Tell what a store or an index holds: rows, parts, fingerprints, bytes, what was set aside.

    Args:
        path: Folder of the store or index.
        verify: Read every byte and compare it with the checksums; exit code 1 when something is damaged.
        json: Write JSON.
    """
    from isthmus.workbench.status import status as ask

    found = ask(path, verify=verify)
    damaged = bool(found.get("damage"))
    if json:
        console.emit(found)
        return int(damaged)
    rows: list[tuple[Any, ...]] = [
        (row["modality"], row["rows"], row["encoder"], row["fingerprint"], row["dim"]) for row in found["columns"]
    ]
    console.table(f"{found['kind']} {path}", ["modality", "rows", "encoder", "fingerprint", "width"], rows)
    console.prose("\n".join(f"{name}: {value}" for name, value in _facts(found).items()))
    for file, wrong in found.get("damage", {}).items():
        console.note(f"{file}: {wrong}")
    return int(damaged)


def _facts(found: dict[str, Any]) -> dict[str, str]:
    """Return what is said under the table, in the words of a person."""
    facts = {"bytes": f"{found['bytes']:,}"}
    if found["kind"] == "store":
        facts |= {"source": str(found["source"].get("name")), "parts": f"{found['parts']:,}"}
        facts["set aside"] = f"{found['rejected']:,}" + (" (rejected.parquet says why)" if found["rejected"] else "")
    else:
        facts |= {"space": f"{found['space']}, {found['dim']} wide", "backend": found["backend"]}
        for modality, graphs in found["graphs"].items():
            said = (f"{g['rows']:,} rows by {g['backend']}, recall@10 {g['recall']:.3f}" for g in graphs)
            facts[f"graph of {modality}"] = "; ".join(said)
        facts |= {"segments": f"{found['segments']:,}", "removed rows": f"{found['removed']:,}"}
        facts["corrected"] = ", ".join(found.get("correction") or {}) or "no"
    if "damage" in found:
        facts["verified"] = (
            f"damaged files: {len(found['damage']):,}" if found["damage"] else "every byte is as written"
        )
    return facts
