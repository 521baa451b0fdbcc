"""`correct`: hubs out of a score matrix that some other program has computed."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter

from isthmus.cli import console
from isthmus.cli.console import Common, common
from isthmus.cli.health import spoken
from isthmus.core.errors import BadInput, NotFound

__all__ = ["correct"]

Repeated = Parameter(negative="")
NAMES = {"hubness_skewness": "skewness of hits", "orphan_share": "never found", "max_count": "found most often"}


def correct(
    *,
    scores: Path,
    query_bank: Path | None = None,
    gallery_bank: Path | None = None,
    method: str = "dual_is",
    set: Annotated[list[str] | None, Repeated] = None,
    query_keys: Path | None = None,
    gallery_keys: Path | None = None,
    out: Path,
    options: Common = common,
) -> None:
    """Take hubs out of a matrix of scores, with the scores of banks of training queries and training items.

    Args:
        scores: Scores of queries against a gallery, .npy of (queries, items).
        query_bank: Scores of training queries against the same gallery, .npy of (entries, items).
        gallery_bank: Scores of training items against the same gallery, .npy of (entries, items).
        method: The correction: is, dis, dual_is, dual_dis, csls, gc, nnn, dn, dual_softmax (which needs no bank).
        set: Settings of the method, such as beta_query=5; repeat for more.
        query_keys: Text file with the item of each query, a line each, to measure retrieval before and after.
        gallery_keys: The same for the gallery.
        out: File for the corrected scores, .npy.
        options: Device, batch size, seed, JSON.
    """
    from isthmus.store.disk import atomic
    from isthmus.workbench.correct import correct_scores

    if (query_keys is None) != (gallery_keys is None):
        raise BadInput("--query-keys and --gallery-keys belong together")
    if out.suffix != ".npy" or not out.parent.is_dir():
        raise BadInput(f"--out {out}: a file ending in .npy, in a folder that exists, is expected")
    found, record = correct_scores(
        _matrix("--scores", scores),
        None if query_bank is None else _matrix("--query-bank", query_bank),
        None if gallery_bank is None else _matrix("--gallery-bank", gallery_bank),
        name=method,
        settings=console.assignments("--set", set or []),
        query_keys=None if query_keys is None else _lines("--query-keys", query_keys),
        gallery_keys=None if gallery_keys is None else _lines("--gallery-keys", gallery_keys),
    )
    with atomic(out) as partial, partial.open("wb") as file:
        np.save(file, found, allow_pickle=False)
    if options.json:
        console.emit({**record, "out": out, "shape": found.shape})
        return
    hubs = record["hubs"]
    rows: list[tuple[Any, ...]] = [(name, hubs["before"][f], hubs["after"][f]) for f, name in NAMES.items()]
    if figures := record.get("figures"):
        rows += [(name, figures["before"][name], figures["after"][name]) for name in figures["before"]]
    console.table(f"{len(found):,} queries, {found.shape[1]:,} items", ["figure", "before", "after"], rows)
    console.note(f"corrected by {spoken([record])}; corrected scores in {out}")


def _matrix(option: str, path: Path) -> np.ndarray:
    try:
        table = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise NotFound(f"{option} {path}: no such file") from error
    except (ValueError, EOFError, OSError) as error:
        raise BadInput(f"{option} {path} is no .npy matrix: {error}") from error
    if not isinstance(table, np.ndarray):
        raise BadInput(f"{option} {path} holds several arrays: one .npy matrix is expected")
    return table


def _lines(option: str, path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise NotFound(f"{option} {path}: no such file") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{option} {path} is no text file: {error}") from error
