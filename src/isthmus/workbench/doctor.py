"""`doctor`: the packages of every extra, installed or not, and the failures that are known to puzzle people."""

import re
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

__all__ = ["examine"]

REQUIREMENT = re.compile(r"^(?P<package>[A-Za-z0-9._-]+)(?:\[(?P<nested>[^\]]+)\])?")
EXTRA = re.compile(r"extra == ['\"](?P<extra>[^'\"]+)['\"]")


def examine() -> list[dict[str, Any]]:
    """Return one record a package: extra, package, version (None when missing), broken, advice.

    A missing optional package is no fault; `broken` marks what is installed and cannot work.
    """
    findings = []
    for requirement in requires("isthmus") or []:
        named, extra = REQUIREMENT.match(requirement), EXTRA.search(requirement)
        if named is None or named["package"] == "isthmus":
            continue
        bringer = extra["extra"] if extra else "core"
        installed = _version(named["package"])
        advice = (
            None
            if installed
            else f"pip install 'isthmus[{bringer}]'"
            if extra
            else "pip install --force-reinstall isthmus"
        )
        findings.append(
            {
                "extra": bringer,
                "package": named["package"],
                "version": installed,
                "broken": installed is None and extra is None,
                "advice": advice,
            }
        )
    if (vision := _version("torchvision")) is not None:
        findings.append({"extra": "", "package": "torchvision", "version": vision, **_torchvision()})
    return findings


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _torchvision() -> dict[str, Any]:
    """Judge the known failure of mixed builds: a CPU build of torch beside the index's torchvision."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        return {
            "broken": True,
            "advice": f"does not import ({error}): it and torch {_version('torch')} are builds for different devices. "
            "Install both in one command, or uninstall torchvision: Isthmus does not need it",
        }
    return {"broken": False, "advice": None}
