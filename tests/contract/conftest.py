"""The contract runs over the catalogue; ISTHMUS_METHODS=DIR adds a folder of yours (`--methods` of the commands)."""

import os
from pathlib import Path

import pytest

from isthmus.core import catalog

EXTRA = [Path(p) for p in os.environ.get("ISTHMUS_METHODS", "").split(os.pathsep) if p]
ENTRIES = catalog.walk(EXTRA)
WISHED = 6.0
slow = pytest.StashKey[dict[str, float]]()


def pytest_generate_tests(metafunc):
    if "entry" in metafunc.fixturenames:
        metafunc.parametrize("entry", ENTRIES, ids=lambda e: e.name, scope="module")


@pytest.fixture
def took(request):
    """Call it with a method's name and the seconds of its smoke run; long ones are listed at the end."""
    return request.config.stash.setdefault(slow, {}).__setitem__


def pytest_terminal_summary(terminalreporter, config):
    for name, seconds in config.stash.get(slow, {}).items():
        if seconds > WISHED:
            terminalreporter.write_line(f"{name}: {seconds:.1f} s at smoke, wished at most {WISHED:.0f}")
