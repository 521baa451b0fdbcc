"""What the tree as a whole promises: imports point one way, names are unique, importing costs little."""

import ast
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import isthmus
from isthmus.core import catalog

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "isthmus"
ORDER = [
    "core",
    "metrics",
    "parts",
    "store",
    "data",
    "encoders",
    "space",
    "index",
    "tasks",
    "methods",
    "workbench",
    "web",
]
SHELLS = ("cli",)
PUBLIC = {
    "__version__",
    "Index",
    "IsthmusError",
    "Space",
    "Store",
    "align",
    "build_index",
    "diagnose",
    "did_you_mean",
    "embed",
    "evaluate",
}


def imports(path):
    """The absolute names that a file imports, anywhere in it; relative ones as they would resolve."""
    package = ["isthmus", *path.relative_to(SRC).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "isthmus":
            yield f"isthmus.{node.attr}"


def part(name):
    pieces = name.split(".")
    return pieces[1] if pieces[0] == "isthmus" and len(pieces) > 1 else None


def rank(name):
    return len(ORDER) if name in SHELLS else ORDER.index(name)


# the package's own names are a lazy table (`isthmus.__init__`), which reaches everything by design
FILES = [p for p in sorted(SRC.rglob("*.py")) if p.parent != SRC or p.stem in ORDER]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_imports_point_left(path):
    here = path.relative_to(SRC).parts[0].removesuffix(".py")
    for name in imports(path):
        there = part(name)
        assert there not in PUBLIC - {"__version__"}, f"imports {name}: within the package, name the module itself"
        if there not in (None, "__version__"):
            assert there == here or rank(there) < rank(here), f"{here} may not import {name}"
            assert here != "core" or there == "core", f"core imports nothing else of isthmus, found {name}"


@pytest.mark.parametrize("entry", catalog.walk(), ids=lambda e: e.name)
def test_no_method_imports_a_method(entry):
    if not entry.module.startswith("isthmus.methods."):
        return
    for path in entry.sources:
        others = [n for n in imports(path) if n.startswith("isthmus.methods") and not n.startswith(entry.module)]
        assert not others, f"{path.name} imports {others}: what two methods share becomes a part"


def test_parts_metrics_and_core_import_no_method():
    for folder in ("core", "metrics", "parts"):
        for path in (SRC / folder).rglob("*.py"):
            assert not [n for n in imports(path) if n.startswith("isthmus.methods")]


def test_oracles_share_no_code_with_what_they_judge():
    for path in (ROOT / "tests" / "oracles").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.split(".")[0] == "isthmus"], path


def test_stems_are_unique():
    """A stem is a word of the command line and the name of a result: no method shares one with another or a part."""
    stems = [entry.name for entry in catalog.walk()] + [p.stem for p in (SRC / "parts").glob("[!_]*.py")]
    assert not [stem for stem, count in Counter(stems).items() if count > 1]
    # two test modules of one name in one folder tree are told apart by their packages
    assert not [p for p in (ROOT / "tests").rglob("test_*.py") if not (p.parent / "__init__.py").exists()]


def test_no_file_is_a_drawer_for_everything():
    banned = {"utils", "util", "helpers", "misc", "common"}
    assert not [p for p in SRC.rglob("*.py") if p.stem in banned]


def test_public_modules_say_what_is_public():
    silent = [
        str(p.relative_to(SRC))
        for p in SRC.rglob("*.py")
        if not p.name.startswith("_")
        and "__all__" not in {getattr(t, "id", "") for n in ast.parse(p.read_text()).body for t in _targets(n)}
    ]
    assert not silent


def _targets(node):
    return node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []


def test_public_names():
    assert set(isthmus.__all__) == PUBLIC == set(dir(isthmus))
    for name in PUBLIC:
        assert getattr(isthmus, name) is not None
    with pytest.raises(AttributeError, match="aling"):
        isthmus.aling  # noqa: B018


def _fresh(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "module",
    [
        "isthmus",
        "isthmus.cli",
        "isthmus.space",
        "isthmus.index.index",
        "isthmus.workbench.bench",
        "isthmus.workbench.search",
        "isthmus.workbench.evaluate",
        "isthmus.workbench.diagnose",
    ],
)
def test_torch_is_not_imported(module):
    loaded = _fresh(f"import json, sys, {module}; print(json.dumps('torch' in sys.modules))")
    assert loaded is False


def test_listing_methods_imports_no_torch():
    code = "import json, sys; from isthmus.workbench import bench; bench.table()"
    assert _fresh(f"{code}; print(json.dumps('torch' in sys.modules))") is False


def test_importing_is_quick():
    code = "import json, time; t = time.perf_counter(); import isthmus; print(json.dumps(time.perf_counter() - t))"
    assert min(_fresh(code) for _ in range(5)) <= 0.2
