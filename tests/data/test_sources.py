import subprocess
import sys

import pytest

from isthmus import data
from isthmus.core.errors import NotFound


def test_cards_are_read_without_importing():
    assert "openmoji" in data.names()
    assert "folder" not in data.names(), "a folder is opened by its path"
    assert "folder" in data.cards()
    for name, card in data.cards().items():
        assert card.name == name
        assert data.card(name) == card
    code = "import sys; from isthmus import data; data.cards(); print('isthmus.data.openmoji' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", data.cards())
def test_the_card_read_is_the_card_imported(name):
    import importlib

    assert data.card(name) == importlib.import_module(f"isthmus.data.{name}").CARD


def test_unknown_names():
    with pytest.raises(NotFound, match="unknown data set 'openmojo'; did you mean 'openmoji'"):
        data.load("openmojo")
    with pytest.raises(NotFound, match="did you mean 'openmoji'"):
        data.card("openmojis")


def test_a_name_wins_over_a_folder(tmp_path, monkeypatch):
    (tmp_path / "openmoji").mkdir()
    monkeypatch.chdir(tmp_path)
    assert data.load("openmoji").name == "openmoji"
    with pytest.raises(ValueError, match="holds no picture"):
        data.load("./openmoji")


@pytest.mark.parametrize("uri", ["ftp:x", "1F600", "openmoji:", "", ":x"])
def test_unknown_uris(uri):
    with pytest.raises(NotFound, match=r"cannot open .*known are .*file:….*openmoji:…"):
        data.open_uri(uri)
