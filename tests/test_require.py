"""A test that lacks something skips and names it; with ISTHMUS_REQUIRE=all that is a failure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEEDS = {
    "module": "require.module('no_such_package', 'image')",
    "program": "require.program('no-such-program', 'no-such-debian')",
    "path": "require.path(Path('/no/such/data'), 'isthmus data fetch it')",
}
NAMES = {
    "module": "needs the package 'no_such_package': pip install 'isthmus[image]'",
    "program": "needs the program 'no-such-program': apt install no-such-debian",
    "path": "needs /no/such/data: isthmus data fetch it",
}


def outcome(tmp_path, text, **environment):
    (tmp_path / "test_it.py").write_text(
        f"from pathlib import Path\nimport pytest\nfrom tests import require\n{text}\n"
    )
    options = ["-q", "-p", "no:cacheprovider", "-p", "tests.conftest", "-c", ROOT / "pyproject.toml"]
    command = [sys.executable, "-m", "pytest", *options, "--rootdir", tmp_path, tmp_path / "test_it.py"]
    clean = {k: v for k, v in os.environ.items() if k != "ISTHMUS_REQUIRE"}
    done = subprocess.run(command, cwd=ROOT, env={**clean, **environment}, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("kind", NEEDS)
def test_what_is_lacking(tmp_path, kind):
    text = f"def test_it():\n    {NEEDS[kind]}"
    code, said = outcome(tmp_path, text)
    assert code == 0 and "1 skipped" in said and NAMES[kind] in said
    code, said = outcome(tmp_path, text, ISTHMUS_REQUIRE="all")
    assert code == 1 and "1 failed" in said and NAMES[kind] in said


def test_a_whole_module_cannot_skip_itself_either(tmp_path):
    text = "pytest.importorskip('no_such_package')\ndef test_it(): pass"
    assert "1 skipped" in outcome(tmp_path, text)[1]
    code, said = outcome(tmp_path, text, ISTHMUS_REQUIRE="all")
    assert code != 0 and "a skip is a failure" in said


def test_an_expected_failure_is_no_skip(tmp_path):
    text = "@pytest.mark.xfail(reason='known', strict=True)\ndef test_it(): assert False"
    code, said = outcome(tmp_path, text, ISTHMUS_REQUIRE="all")
    assert code == 0 and "1 xfailed" in said
