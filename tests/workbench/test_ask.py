"""Asking an index: with one thing, with several, without others, and in turns."""

import doctest

import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.index.hit import Hit
from isthmus.index.index import Index
from isthmus.space import Map, Space
from isthmus.store.rows import Vectors
from isthmus.workbench import ask as module
from isthmus.workbench.ask import Question, ask, by_part, in_turns, question, shares
from tests.data.made import recording
from tests.store.rows import fingerprint

DIM = 4
COLOURS, SHAPES = ("red", "blue"), ("ball", "box")


class Reader:
    """An encoder of made things: colours and shapes are directions."""

    def __init__(self, modality):
        self.fingerprint = fingerprint(DIM, modality=modality)

    def encode(self, modality, items, **settings):
        return np.array([[float(word in item) for word in (*COLOURS, *SHAPES)] for item in items], np.float32)


@pytest.fixture
def index(tmp_path, monkeypatch):
    readers = {m: Reader(m) for m in ("image", "text")}
    monkeypatch.setattr(Space, "encoder", lambda self, modality, device: readers[modality])
    space = Space({m: Map([], {}, reader.fingerprint) for m, reader in readers.items()})
    things = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
    entries = {
        m: Vectors.of(reader.encode(m, things), reader.fingerprint, keys=things) for m, reader in readers.items()
    }
    return Index.build(tmp_path / "i", space=space, entries=entries)


def keys(hits):
    return [hit.key for hit in hits]


def test_examples():
    assert doctest.testmod(module).attempted and not doctest.testmod(module).failed


def test_one_part_is_the_plain_search(index):
    found = ask(index, Question((("text", "blue box"),)), k=3)
    assert found == index.search_items("text", ["blue box"], k=3, modality="image")[0]
    assert found[0].key == "blue box" and {hit.modality for hit in found} == {"image"}


def test_a_picture_and_a_text(index):
    """The red ball, but blue, and no red: no part alone finds it."""
    picture, words = ("image", "red ball"), ("text", "blue")
    found = ask(index, Question((picture, words), (("text", "red"),)))
    assert found[0].key == "blue ball" and {hit.modality for hit in found} == {"image"}
    assert ask(index, Question((picture,)), modality="image")[0].key == "red ball"
    assert {hit.key for hit in ask(index, Question((words,)), k=2)} == {"blue ball", "blue box"}
    other_order = ask(index, Question((words, picture), (("text", "red"),)))
    assert keys(other_order) == keys(found)


def test_without_something(index):
    found = ask(index, Question((("text", "ball"),), (("text", "red"),)), k=4)
    assert found[0].key == "blue ball" and keys(found)[-1] in ("red box", "red ball")


def test_oracle(index):
    z = Question((("image", "red ball"), ("text", "blue box")), (("text", "red"),)).vector(index.space)
    wanted = np.array([1, 0, 1, 0]) / 2**0.5 + np.array([0, 1, 0, 1]) / 2**0.5 - np.array([1, 0, 0, 0])
    np.testing.assert_allclose(z[0], wanted / np.linalg.norm(wanted), atol=1e-6)


def test_parts_that_are_encoded_already(index):
    for asked in (
        Question((("text", "blue box"),)),
        Question((("image", "red ball"), ("text", "blue")), (("text", "red"),)),
    ):
        encoded = index.space.encode_mixed([*asked.wanted, *asked.unwanted])
        assert ask(index, asked, k=3, encoded=encoded) == ask(index, asked, k=3)


def test_what_a_hit_was_found_for(index):
    asked = Question((("image", "red ball"), ("text", "blue")), (("text", "red"),))
    x = index.space.encode_mixed([*asked.wanted, *asked.unwanted])
    hits = ask(index, asked, encoded=x)
    told = by_part(index, hits, x)
    held = dict(zip(index.items("image")["id"].to_pylist(), index.vectors("image"), strict=True))
    np.testing.assert_allclose(told, [[held[h.id] @ p / np.linalg.norm(p) for p in x] for h in hits], atol=1e-6)
    one = index.search(x[1:2] / np.linalg.norm(x[1]), k=8)[0]
    np.testing.assert_allclose(by_part(index, one, x[1:2])[:, 0], [h.score for h in one], atol=1e-6)
    assert by_part(index, [], x).shape == (0, 3)


def test_several_modalities_take_turns(index):
    heard = Space({**index.space.maps, "speech": Map([], {}, fingerprint(DIM, modality="speech"))})
    entries = {
        m: Vectors.of(index.vectors(m), heard.maps[m].fingerprint, keys=index.items(m)["key"].to_pylist())
        for m in ("image", "text")
    }
    entries["speech"] = Vectors.of(
        index.vectors("text"), heard.maps["speech"].fingerprint, keys=index.items("text")["key"].to_pylist()
    )
    whole = Index.build(index.path.parent / "three", space=heard, entries=entries)
    hits = ask(whole, Question((("text", "blue box"),)), k=5)
    assert [hit.modality for hit in hits] == ["image", "speech", "text", "image", "speech"]
    assert len(ask(whole, Question((("text", "blue box"),)))) == 10
    few = ask(whole, Question((("text", "blue box"),)), quota={"image": 2, "text": 1})
    assert [hit.modality for hit in few] == ["image", "text", "image"]
    assert {hit.modality for hit in ask(whole, Question((("text", "blue"),)), modality=["speech"])} == {"speech"}
    assert shares(["image", "text"], 1) == {"image": 1, "text": 1}
    assert in_turns([]) == []


def test_questions(index, tmp_path):
    assert question(index, text="a cat", minus=["a dog"]) == Question((("text", "a cat"),), (("text", "a dog"),))
    assert Question((("text", "a"), ("image", "b"))).modality == "image"
    with pytest.raises(BadInput, match="cannot be searched with a recording: its space maps image, text"):
        question(index, sound=tmp_path / "a.wav")
    heard = Space({**index.space.maps, "speech": Map([], {}, fingerprint(DIM, modality="speech"))})
    entries = {"text": Vectors.of(np.eye(DIM), heard.maps["text"].fingerprint, keys=list("abcd"))}
    listening = Index.build(tmp_path / "s", space=heard, entries=entries)
    with pytest.raises(BadInput, match=r"a.wav: the recording cannot be read"):
        question(listening, sound=tmp_path / "a.wav")
    recording(tmp_path / "b.wav")
    asked = question(listening, sound=tmp_path / "b.wav", text="loud")
    assert asked.modality == "speech" and asked.wanted[0][1]["sampling_rate"] > 0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda i: question(i), "needs a text, --image FILE or --sound FILE"),
        (lambda i: question(i, minus=["a"]), "needs a text"),
        (lambda i: question(i, text=" "), "is empty"),
        (lambda i: question(i, text="a", minus=[""]), "is empty"),
        (lambda i: ask(i, Question((("text", "red"),)), k=0), "k must be at least 1"),
        (lambda i: ask(i, Question((("text", "red"),), (("text", "red"),))), "nothing is left to look for"),
    ],
)
def test_errors(index, call, says):
    with pytest.raises(BadInput, match=says):
        call(index)


def test_hits_are_those_of_the_index(index):
    assert all(isinstance(hit, Hit) for hit in ask(index, Question((("text", "red"),), (("text", "box"),))))
