"""`isthmus doctor`: what is installed, what is missing, and which extra brings it."""

import sys
from typing import Annotated

from cyclopts import Parameter

from isthmus.cli import console
from isthmus.workbench.doctor import examine

__all__ = ["doctor"]


def doctor(*, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Tell what works on this machine, what is missing, and what brings it.

    Args:
        json: Write JSON.
    """
    findings = examine()
    if json:
        console.emit(findings)
    else:
        console.table(
            f"Python {sys.version.split()[0]}",
            ["package", "version", "state", "part of"],
            [(f["package"], f["version"], f["advice"] or "ok", ", ".join(f["extras"])) for f in findings],
        )
    return 1 if any(f["broken"] for f in findings) else 0
