"""What a test may need that is not everywhere: name it here, and the test skips where it is absent.

With ISTHMUS_REQUIRE=all (`.ci/run`) every skip is a failure: see `conftest.py`.
"""

import importlib.util
import shutil

import pytest


def module(name, extra):
    """Skip unless a Python package that `isthmus[extra]` brings is installed."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs the package {name!r}: pip install 'isthmus[{extra}]'")


def program(name, package):
    """Skip unless a program is there; `package` is the Debian package that brings it. Returns its path."""
    if (path := shutil.which(name)) is None:
        pytest.skip(f"needs the program {name!r}: apt install {package}")
    return path


def path(where, how):
    """Skip unless a file or folder (a fetched data set) is there; `how` says how to get it. Returns it."""
    if not where.exists():
        pytest.skip(f"needs {where}: {how}")
    return where
