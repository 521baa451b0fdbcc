"""`isthmus doctor`: what is installed, what is missing, and which extra brings it."""

import sys
from typing import Annotated

from cyclopts import Parameter

from isthmus.cli import console
from isthmus.workbench.doctor import examine

__all__ = ["doctor"]


def doctor(*, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Tell what works on this machine, what is missing, and which extra brings it.

    Args:
        json: Write JSON.
    """
    findings = examine()
    if json:
        console.emit(findings)
    else:
        console.table(
            f"Python {sys.version.split()[0]}",
            ["extra", "package", "version", "state"],
            [(f["extra"], f["package"], f["version"] or "", f["advice"] or "ok") for f in findings],
        )
    return 1 if any(f["broken"] for f in findings) else 0
