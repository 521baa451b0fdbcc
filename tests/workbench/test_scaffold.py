import subprocess
import sys
from pathlib import Path

import pytest

from isthmus.core.catalog import METHODS
from isthmus.core.errors import BadInput, NotFound
from isthmus.workbench import scaffold

ROOT = Path(__file__).parents[2]


def test_the_files_are_where_they_belong(tmp_path):
    (tmp_path / "pyproject.toml").touch()
    made = scaffold.new("dense/sample-map", methods=tmp_path / "src" / "mine")
    assert [str(p.relative_to(tmp_path)) for p in made] == [
        "src/mine/dense/sample_map.py",
        "tests/methods/dense/test_sample_map.py",
    ]
    assert "class SampleMap" in made[0].read_text() and "$" not in made[0].read_text()


def test_our_own_folder_becomes_a_package(tmp_path, monkeypatch):
    """In our tree the test imports the module by name, and a new family gets its package."""
    own = tmp_path / "src" / "isthmus" / "methods"
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(scaffold, "METHODS", own)
    _, test = scaffold.new("dense/sample_map", methods=own)
    assert (own / "dense" / "__init__.py").read_text().startswith('"""Dense predictions')
    assert "from isthmus.methods.dense import sample_map as METHOD" in test.read_text()
    assert [(p / "__init__.py").is_file() for p in (test.parent, test.parent.parent)] == [True, True]


def test_an_installed_package_is_left_alone(tmp_path, monkeypatch):
    own = tmp_path / "site-packages" / "isthmus" / "methods"
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(scaffold, "METHODS", own)
    with pytest.raises(BadInput, match="--methods DIR"):
        scaffold.new("dense/sample_map", methods=own)


@pytest.mark.parametrize("own", [True, False])
def test_the_files_are_formatted_and_tidy(tmp_path, monkeypatch, own):
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    methods = tmp_path / "src" / "isthmus" / "methods" if own else tmp_path / "mine"
    if own:
        monkeypatch.setattr(scaffold, "METHODS", methods)
    made = scaffold.new("spaces/sample_map", methods=methods)
    # in a tree of somebody else isthmus is a third-party package, whose imports they sort as they like
    ours = ["--config", 'lint.isort.known-first-party = ["isthmus"]'] if own else ["--ignore", "I001"]
    for command in (["check", *ours], ["format", "--check"]):
        run = [sys.executable, "-m", "ruff", *command, "--no-cache", *made]
        done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


BAD = ["spaces", "spaces/", "/x", "spaces/a/b", "spaces/4m", "spaces/_x", "spaces/class", "spaces/a b"]


@pytest.mark.parametrize("target", BAD)
def test_bad_targets(tmp_path, target):
    with pytest.raises(BadInput, match="FAMILY/NAME"):
        scaffold.new(target, methods=tmp_path)
    assert not list(tmp_path.rglob("*.py"))


def test_unknown_family(tmp_path):
    with pytest.raises(NotFound, match="did you mean 'spaces'"):
        scaffold.new("space/sample_map", methods=tmp_path)


def test_taken_names(tmp_path):
    scaffold.new("spaces/sample_map", methods=tmp_path / "mine")
    with pytest.raises(BadInput, match="'sample_map' is taken"):
        scaffold.new("dense/sample-map", methods=tmp_path / "mine")
    if (METHODS / "spaces" / "projectors").is_dir():
        with pytest.raises(BadInput, match="'projectors' is taken"):
            scaffold.new("dense/projectors", methods=tmp_path / "mine")
    (tmp_path / "mine" / "spaces" / "sample_map.py").unlink()
    with pytest.raises(BadInput, match=r"test_sample_map\.py exists already"):
        scaffold.new("spaces/sample_map", methods=tmp_path / "mine")
