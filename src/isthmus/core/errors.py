"""Errors that a user can mend, and the "did you mean" that goes with them.

Every message names what was wrong (file, shape, value) and what to do about it. The command line prints
the message alone and exits with 2; anything else that escapes is a defect of ours and keeps its traceback.
"""

import difflib
from collections.abc import Iterable

__all__ = ["BadInput", "Busy", "IsthmusError", "MissingExtra", "NotFound", "WrongFingerprint", "did_you_mean"]


class IsthmusError(Exception):
    """Base of everything that is the input's fault, not the program's."""


class BadInput(IsthmusError, ValueError):
    """A value, file or shape that cannot be used."""


class Busy(BadInput):
    """A folder that has one writer at a time, and another process is writing to it now."""


class NotFound(IsthmusError, LookupError):
    """A name or path that does not exist."""

    @classmethod
    def named(cls, kind: str, name: str, known: Iterable[str], hint: str = "") -> "NotFound":
        """Build the error for an unknown `name` among the `known` ones of a `kind`."""
        known = sorted(known)
        guess = did_you_mean(name, known)
        listed = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
        parts = [f"unknown {kind} {name!r}"]
        if guess:
            parts.append(f"did you mean {guess!r}?")
        parts.append(f"known: {listed}" if known else f"no {kind} is known")
        if hint:
            parts.append(hint)
        return cls("; ".join(parts))


class WrongFingerprint(BadInput):
    """Vectors of one encoder offered where vectors of another are expected."""


class MissingExtra(IsthmusError, ImportError):
    """An optional package is needed and not installed."""

    @classmethod
    def of(cls, package: str, extra: str, wanted_for: str) -> "MissingExtra":
        """Build the error for a `package` that the `extra` of Isthmus brings."""
        return cls(f"{wanted_for} needs the package {package!r}: pip install 'isthmus[{extra}]'")


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to `name`, or None when nothing is close."""
    folded = {k.lower().replace("-", "_"): k for k in known}
    close = difflib.get_close_matches(name.lower().replace("-", "_"), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None
