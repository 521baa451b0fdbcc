import sys
from types import SimpleNamespace

import pytest

from isthmus.core import catalog
from isthmus.core.card import Card, Claim
from isthmus.core.errors import BadInput, NotFound

CARD = """
from isthmus.core.card import Card, Claim
CARD = Card(title="T", authors=("A",), year=2020, link="https://x", summary="S", needs=("n",), gives=("g",),
            modalities=("any",), uses={"align": "Thing"}, delivers={"it": "Thing"},
            claim=Claim(task="retrieval.v1", metric="r@1", better="a", than="b", margin=0.0))
"""


def write(folder, name, text=CARD):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_card_is_read_without_importing(tmp_path):
    write(tmp_path, "spaces/sample_x.py", CARD + "\nraise RuntimeError('imported')")
    entry = catalog.find("sample-x", [tmp_path])
    assert (entry.name, entry.slug, entry.family) == ("sample_x", "sample-x", "spaces")
    assert isinstance(entry.card, Card)
    assert entry.card.claim == Claim(task="retrieval.v1", metric="r@1", better="a", than="b", margin=0.0)
    assert catalog.serving("align", [tmp_path])["sample_x"] == (entry.module, "Thing")
    assert "sample_x" not in catalog.serving("bind", [tmp_path])
    write(
        tmp_path, "spaces/sample_x.py", CARD.replace('{"align": "Thing"}', '{"align": "Thing", "align soft_x": "Soft"}')
    )
    found = catalog.serving("align", [tmp_path])
    assert (found["sample_x"][1], found["soft_x"][1]) == ("Thing", "Soft")
    write(tmp_path, "spaces/sample_x.py", CARD + "\nraise RuntimeError('imported')")
    with pytest.raises(RuntimeError, match="imported"):
        entry.load()
    assert entry.module not in sys.modules, "a module that failed to load is not kept half-made"


def test_walk_takes_files_and_folders_and_leaves_private_ones(tmp_path):
    write(tmp_path, "spaces/__init__.py", "")
    write(tmp_path, "spaces/sample_a.py")
    write(tmp_path, "spaces/_private.py")
    write(tmp_path, "dense/sample_b/__init__.py", CARD + "\nfrom .inner import VALUE")
    inner = write(tmp_path, "dense/sample_b/inner.py", "VALUE = 3")
    found = {e.name: e for e in catalog.walk([tmp_path]) if e.name.startswith(("sample", "_"))}
    assert list(found) == ["sample_a", "sample_b"]
    assert found["sample_b"].sources == sorted([inner.parent / "__init__.py", inner])
    assert found["sample_b"].load().VALUE == 3
    assert found["sample_b"].load() is found["sample_b"].load()


def test_entry_points_are_walked(tmp_path, monkeypatch):
    write(tmp_path, "others_methods/__init__.py", "")
    write(tmp_path, "others_methods/spaces/__init__.py", "")
    write(tmp_path, "others_methods/spaces/theirs.py")
    monkeypatch.syspath_prepend(tmp_path)
    points = [SimpleNamespace(name="others", value="others_methods")]
    monkeypatch.setattr(catalog, "entry_points", lambda group: points)
    assert catalog.find("theirs").load().__name__ == "others_methods.spaces.theirs"
    points[0].value = "no_such_package_here"
    with pytest.raises(BadInput, match="no_such_package_here"):
        catalog.walk()


def test_unknown_names(tmp_path):
    write(tmp_path, "spaces/sample_x.py")
    with pytest.raises(NotFound, match="did you mean 'sample_x'"):
        catalog.find("sample-y", [tmp_path])
    with pytest.raises(NotFound, match="no such folder"):
        catalog.walk([tmp_path / "nowhere"])


def test_two_methods_of_one_name(tmp_path):
    write(tmp_path, "spaces/sample_x.py")
    write(tmp_path, "dense/sample_x.py")
    with pytest.raises(BadInput, match="two methods are called 'sample_x'"):
        catalog.walk([tmp_path])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CARD = Card(title=str(3))", r"f\.py:1: CARD must hold literals only, cannot use 'str\(3\)'"),
        ("x = 1\nCARD = Card(title='T', year=2000 + x)", r"f\.py:2: CARD must hold literals only"),
        ("CARD = Claim(task='t', metric='m', better='a', than='b', margin=0, control='none')", "control_reason"),
        ("CARD = Claim(task='t')", "missing"),
        ("CARD = Card(*x)", "literals only"),
        ("CARD = (", "cannot be read as Python"),
    ],
)
def test_what_is_no_literal_is_refused_with_its_place(tmp_path, text, message):
    with pytest.raises(BadInput, match=message):
        catalog.read_literal(write(tmp_path, "f.py", text), "CARD", {"Card": Card, "Claim": Claim})


def test_literals(tmp_path):
    path = write(tmp_path, "f.py", "A: int = 3\nB = C = 4\nD = {'x': (1, [2], None)}\nE: int\ndef f():\n    F = 1")
    found = {n: catalog.read_literal(path, n, {}, default="absent") for n in "ABCDEF"}
    assert found == {"A": 3, "B": "absent", "C": "absent", "D": {"x": (1, [2], None)}, "E": "absent", "F": "absent"}


def test_a_file_without_a_card(tmp_path):
    write(tmp_path, "spaces/sample_x.py", "CARD = 3")
    with pytest.raises(BadInput, match="CARD is not a Card"):
        _ = catalog.find("sample_x", [tmp_path]).card
