"""An installed package, which has no source tree around it, carries the results and shows them."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_carries_the_results(tmp_path):
    """Lay the files out as the wheel does (`pyproject.toml`), and ask for the table from there."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    site = tmp_path / "site-packages"
    for package in wheel["packages"]:
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, site / Path(package).name, ignore=skip)
    for source, target in wheel["force-include"].items():
        shutil.copytree(ROOT / source, site / target)
    name = "projectors"
    result = {"format_version": 99}
    code = f"import isthmus; assert isthmus.__file__.startswith({str(site)!r}); from isthmus.cli import main; main()"

    def ask(*arguments):
        command = [sys.executable, "-c", code, *arguments, "--json"]
        here = {**os.environ, "PYTHONPATH": str(site)}
        return subprocess.run(command, cwd=tmp_path, env=here, capture_output=True, text=True, check=False)

    rows = {row["name"]: row for row in json.loads(ask("table").stdout)}
    stored = {path.stem for path in (ROOT / "results").glob("*.json")}
    assert {name for name, row in rows.items() if row["gain"] is not None} == stored & set(rows)
    # and it is that file, not one of the source tree, which is read
    (site / "isthmus" / "results" / f"{name}.json").write_text(json.dumps(result))
    done = ask("show", name)
    assert done.returncode == 2 and "newer than 1: update isthmus" in done.stderr
