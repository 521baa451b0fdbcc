"""`new`: write the two files that a method consists of, from a template that already passes the contract."""

import datetime
import keyword
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from isthmus.core.catalog import METHODS, walk
from isthmus.core.errors import BadInput, NotFound
from isthmus.workbench.results import project
from isthmus.workbench.review import FAMILIES

__all__ = ["new"]


def new(target: str, *, methods: Path = METHODS, extra: Sequence[Path] = ()) -> list[Path]:
    """Write the method file and the test file of ``FAMILY/NAME`` and return their paths.

    The method goes under `methods` (our own folder by default), its test under ``tests/methods`` of the source tree
    that `methods` lies in, or beside `methods` when it lies in none. A slug may be given: ``-`` becomes ``_``.

    Raises `BadInput` for a target of another form, a name that is no Python name, or one that is taken (nothing is
    written then), and for our own folder when Isthmus is installed and not a checkout; `NotFound` for an unknown
    family.
    """
    family, slash, name = target.replace("-", "_").partition("/")
    if not (family and slash and name.isidentifier()) or keyword.iskeyword(name) or name.startswith("_"):
        raise BadInput(f"{target!r} is not of the form FAMILY/NAME with a Python name, such as spaces/my_method")
    if family not in FAMILIES:
        raise NotFound.named("family", family, FAMILIES)
    methods = methods.resolve()
    path = methods / family / f"{name}.py"
    own = methods == METHODS
    tree = project(path)
    if own and tree is None:
        raise BadInput(f"{methods} belongs to an installed package: name a folder of yours with --methods DIR")
    known = walk([*extra, *([] if own or not methods.is_dir() else [methods])])
    if taken := [e.path for e in known if e.name == name]:
        raise BadInput(f"the name {name!r} is taken by {taken[0]}")
    test = (tree or methods.parent) / "tests" / "methods" / family / f"test_{name}.py"
    if written := [p for p in (path, test) if p.exists()]:
        raise BadInput(f"{written[0]} exists already")

    lines = ["import numpy as np", "import pytest", "", "from isthmus.core.errors import BadInput, NotFound"]
    if own:
        lines.append(f"from isthmus.methods.{family} import {name} as METHOD")
    else:
        up = Path(os.path.relpath(methods, test.parent)).as_posix()
        lines = ["from pathlib import Path", "", *lines, "", f'METHODS = Path(__file__).parent / "{up}"']
        lines.insert(5, "from isthmus.core.catalog import find")
        lines.append(f'METHOD = find("{name}", [METHODS]).load()')
    names = {
        "cls": "".join(part.capitalize() for part in name.split("_")),
        "year": str(datetime.date.today().year),
        "imports": "\n".join(lines),
    }
    for file, template in ((path, "method.txt"), (test, "test.txt")):
        file.parent.mkdir(parents=True, exist_ok=True)
        text = files("isthmus.workbench").joinpath("templates", template).read_text(encoding="utf-8")
        file.write_text(Template(text).substitute(names), encoding="utf-8")
    if own:
        # our tests are packages, so that two of them may have one name
        packages = {path.parent: f'"""{FAMILIES[family]}"""\n', test.parent: "", test.parent.parent: ""}
        for folder, text in packages.items():
            if not (init := folder / "__init__.py").exists():
                init.write_text(text, encoding="utf-8")
    return [path, test]
