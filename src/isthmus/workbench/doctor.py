"""`doctor`: the packages of every extra, installed or not, and the failures that are known to puzzle people."""

import re
import shutil
from collections import Counter
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

__all__ = ["examine"]

REQUIREMENT = re.compile(r"^(?P<package>[A-Za-z0-9._-]+)(?:\[(?P<nested>[^\]]+)\])?(?:[^;]*?>=\s*(?P<floor>[0-9.]+))?")
CORE = "core"
SYSTEM = "system"
PROGRAMS = {"espeak-ng": "it speaks the data set intents"}
"""Programs that no package index brings, and what for; each is in a Debian package of its name."""
EXTRA = re.compile(r"extra == ['\"](?P<extra>[^'\"]+)['\"]")


def examine() -> list[dict[str, Any]]:
    """Return one record a package: package, version (None when missing), extras, broken, advice.

    `extras` are those that bring it, the smallest first; "core" stands for Isthmus without any, "system" for programs
    that the system's own packages bring. A missing optional package is no fault; `broken` marks what is installed and
    cannot work, older than Isthmus can use among it, and what Isthmus cannot do without.
    """
    brought: dict[str, list[str]] = {}
    floors: dict[str, str] = {}
    sizes: Counter[str] = Counter()
    for requirement in requires("isthmus") or []:
        named, extra = REQUIREMENT.match(requirement), EXTRA.search(requirement)
        if named is None or named["package"] == "isthmus":
            continue
        bringer = extra["extra"] if extra else CORE
        sizes[bringer] += 1
        brought.setdefault(named["package"], []).append(bringer)
        floors[named["package"]] = named["floor"] or ""
    findings = []
    for package, bringers in brought.items():
        extras = sorted(bringers, key=lambda name: (name != CORE, sizes[name], name))
        installed, core = _version(package), extras[0] == CORE
        mend = "pip install --force-reinstall isthmus" if core else f"pip install 'isthmus[{extras[0]}]'"
        newer = f"older than {floors[package]}: pip install --upgrade {package}"
        old = installed is not None and _numbers(installed) < _numbers(floors[package])
        findings.append(
            {
                "package": package,
                "version": installed,
                "extras": extras,
                "broken": old or (installed is None and core),
                "advice": newer if old else mend if installed is None else None,
            }
        )
    for program, purpose in PROGRAMS.items():
        there = shutil.which(program) is not None
        advice = None if there else f"{purpose}: apt-get install {program}, or your system's package of that name"
        found = {"version": "found" if there else None, "extras": [SYSTEM], "broken": False, "advice": advice}
        findings.append({"package": program, **found})
    if (vision := _version("torchvision")) is not None:
        findings.append({"package": "torchvision", "version": vision, "extras": [], **_torchvision()})
    return sorted(findings, key=lambda f: (f["extras"][:1] != [CORE], f["package"]))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _numbers(release: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: (1, 26, 4) of 1.26.4rc1."""
    leading = re.split(r"[^0-9.]", release, maxsplit=1)[0]
    return tuple(int(n) for n in leading.split(".") if n)


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
