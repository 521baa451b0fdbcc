"""The command line as a user has it: one call, its exit code, and what stands on standard output and error."""

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from isthmus import encoders
from isthmus.cli import main
from isthmus.workbench import embed
from tests.workbench.small_world import ByColour, colour

from PIL import Image  # isort: skip

NAMED = {"by_colour_image": ByColour("image", 1), "by_colour_text": ByColour("text", 2)}
ENCODERS = ("--encoder", "image=by_colour_image", "--encoder", "text=by_colour_text")
real_load = encoders.load


def load(name, modality, *, device="cpu"):
    """Know two encoders that need no package, beside the real ones."""
    return NAMED[name] if name in NAMED else real_load(name, modality, device=device)


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def isthmus(*arguments):
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return Done(left.value.code, out.getvalue(), err.getvalue())


def refused(done, code=2, *, at_work=False):
    """Assert that a command failed with one line on standard error, and return the line.

    It is all there is, unless the command was `at_work` when it found out: then progress stands before it.
    """
    assert (done.code, done.out) == (code, ""), done
    *before, line = done.err.splitlines()
    assert line.startswith("isthmus: ") and all(at_work and "-:--:--" in bar for bar in before), done.err
    return line


def fill(folder, n=12):
    """Write small pictures with captions beside them, which the encoders of `NAMED` can read."""
    folder.mkdir(parents=True)
    for i in range(n):
        Image.new("RGB", (20, 12), colour(i)).save(folder / f"c{i:02d}.png")
        (folder / f"c{i:02d}.txt").write_text("colour " + " ".join(map(str, colour(i))))
    return folder


@pytest.fixture(autouse=True)
def known_encoders(monkeypatch):
    monkeypatch.setattr(encoders, "load", load)
    monkeypatch.setattr(embed, "load_encoder", load)


@pytest.fixture
def pictures(tmp_path):
    return fill(tmp_path / "pictures")


@dataclass(frozen=True)
class Made:
    """The outputs of the loop, made once; tests do not write to them."""

    pictures: Path
    store: Path
    space: Path
    index: Path


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("loop")
    here = Made(fill(root / "pictures"), root / "store", root / "space", root / "index")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed, "load_encoder", load)
        steps = [
            ("embed", here.pictures, *ENCODERS, "--out", here.store),
            ("align", here.store, "--modalities", "image,text", "--out", here.space, "--set", "steps=5"),
            ("index", here.store, "--space", here.space, "--out", here.index),
        ]
        for step in steps:
            done = isthmus(*step)
            assert (done.code, done.out) == (0, ""), done
    return here
