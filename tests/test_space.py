import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from isthmus import encoders
from isthmus.core.errors import BadInput, NotFound, WrongFingerprint
from isthmus.core.roles import Tokens
from isthmus.space import Map, Space
from tests.maps import head, token_map, tokens, vectors
from tests.stopping import stopped
from tests.store.rows import fingerprint


def two_way():
    image = head(1, d=8)
    image = Map(image.steps, image.tensors, fingerprint(8, modality="image", encoder="camera"))
    return Space({"text": head(), "image": image}, {"name": "test", "settings": {"width": 5}})


def test_space_round_trip(tmp_path):
    made = two_way()
    assert made.save(tmp_path / "space") == tmp_path / "space"
    loaded = Space.load(tmp_path / "space")
    assert loaded.digest == made.digest
    assert loaded.modalities == ["image", "text"]
    assert loaded.dim == 3
    assert loaded.card["settings"] == {"width": 5}
    for modality, d in (("text", 6), ("image", 8)):
        np.testing.assert_array_equal(loaded.transform(modality, vectors(d=d)), made.transform(modality, vectors(d=d)))
        assert loaded.maps[modality].fingerprint == made.maps[modality].fingerprint
    assert {p.name for p in (tmp_path / "space").iterdir()} >= {"space.json"}
    loaded.save(tmp_path / "again")
    assert Space.load(tmp_path / "again").digest == made.digest
    assert (tmp_path / "again" / "space.json").read_text() == (tmp_path / "space" / "space.json").read_text()


def test_map_json_round_trip():
    one = head()
    two = Map.from_json(json.loads(json.dumps(one.to_json())), one.tensors)
    np.testing.assert_array_equal(one(vectors()), two(vectors()))
    for bad in (None, [], {"steps": []}, {**one.to_json(), "code": ""}):
        with pytest.raises(BadInput):
            Map.from_json(bad, one.tensors)


def test_digest_sees_every_change():
    made = two_way()
    text = made.maps["text"]
    changed = dict(text.tensors)
    changed["t0"] = changed["t0"] + np.float32(1e-3)
    others = [
        Map(text.steps, changed, text.fingerprint),
        Map(text.steps[:-1], text.tensors, text.fingerprint),
        Map(text.steps, text.tensors, replace(text.fingerprint, prompt="q")),
    ]
    digests = {Space({**made.maps, "text": other}).digest for other in others} | {made.digest}
    assert len(digests) == 4
    assert Space(dict(reversed(made.maps.items())), {"name": "other"}).digest == made.digest


def test_wrong_fingerprints_are_refused(tmp_path):
    made = two_way()
    other = fingerprint(6, weights="cd" * 32, prompt="query: ")
    with pytest.raises(WrongFingerprint, match=r"weights is 'ab.*' here and 'cd.*' there; prompt is '' here"):
        made.transform("text", vectors(), fingerprint=other)
    made.transform("text", vectors(), fingerprint=fingerprint(6))
    made.save(tmp_path / "s")
    Space.load(tmp_path / "s", fingerprints={"text": fingerprint(6)})
    with pytest.raises(WrongFingerprint, match="prompt"):
        Space.load(tmp_path / "s", fingerprints={"text": other})
    with pytest.raises(NotFound, match=r"unknown modality 'imag'.*did you mean 'image'"):
        made.transform("imag", vectors())


def test_spaces_that_do_not_fit():
    text = head()
    with pytest.raises(BadInput, match="one width"):
        Space({"text": text, "image": Map([], {}, fingerprint(6, modality="image"))})
    with pytest.raises(BadInput, match="one width"):
        Space({})
    with pytest.raises(BadInput, match="'image': 'text'"):
        Space({"image": text})


@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_nan_is_refused(library):
    x = vectors()
    x[4, 2], x[7, 0] = np.nan, np.inf
    with pytest.raises(BadInput, match=r"text vectors hold NaN or infinity in 2 of 9 rows, the first are \[4, 7\]"):
        two_way().transform("text", library(x))


def test_nan_outside_of_the_mask_does_not_matter():
    made = Space({"text": token_map()})
    x, mask = tokens()
    spoiled = np.where(mask[..., None], x, np.nan).astype(np.float32)
    np.testing.assert_array_equal(made.transform("text", spoiled, mask=mask), made.transform("text", x, mask=mask))
    spoiled[3, 2] = np.nan
    with pytest.raises(BadInput, match=r"in 1 of 9 rows, the first are \[3\]"):
        made.transform("text", spoiled, mask=mask)


def test_overflow_is_refused():
    made = Space({"text": Map([{"op": "scale", "factor": 1e30}], {}, fingerprint(6))})
    with pytest.raises(BadInput, match="overflow in the space in 9 of 9 rows"):
        made.transform("text", vectors() * np.float32(1e20))


def test_saving_replaces_at_once(tmp_path, monkeypatch):
    """Stop at every step of replacing a space by another: the folder holds the one or the other, whole."""
    old, new = two_way(), Space({"text": head(5)}, {"name": "new"})

    seen = []
    for stop in range(100):
        path = tmp_path / f"{stop}"
        old.save(path)
        killed = stopped(monkeypatch, stop, new.save, path)
        seen.append(Space.load(path).digest)
        new.save(path)
        assert Space.load(path).digest == new.digest
        assert len(list(path.glob("*.safetensors"))) == 1
        assert not list(path.glob(".*"))
        if not killed:
            break
    assert set(seen) == {old.digest, new.digest}
    assert seen == sorted(seen, key=[old.digest, new.digest].index)  # once new, always new


def test_files_that_are_damaged(tmp_path):
    path = two_way().save(tmp_path / "s")
    head_file, tensors = path / "space.json", next(path.glob("*.safetensors"))
    stored, content = json.loads(head_file.read_text()), tensors.read_bytes()
    for wrong in (content[:-1], content + b"x", b"", content[:50] + b"!" + content[51:]):
        tensors.write_bytes(wrong)
        with pytest.raises(BadInput, match=r"safetensors is damaged"):
            Space.load(path)
    tensors.unlink()
    with pytest.raises(BadInput, match="safetensors is missing"):
        Space.load(path)
    tensors.write_bytes(content)

    def altered(**changes):
        head_file.write_text(json.dumps({**stored, **changes}))
        return pytest.raises(BadInput, match=r"space.json")

    with altered(format_version=2) as caught:
        Space.load(path)
    assert "update isthmus" in str(caught.value)
    for changes in (
        {"maps": None},
        {"maps": {"text": {}}},
        {"maps": {"text": stored["maps"]["text"]}},
        {"maps": {m: {**v, "steps": v["steps"][:-1]} for m, v in stored["maps"].items()}},
        {"tensors": {}},
        {"tensors": {**stored["tensors"], "file": "../../etc/passwd"}},
        {"tensors": {**stored["tensors"], "file": "../x.safetensors"}},
        {"digest": "0" * 16},
    ):
        with altered(**changes):
            Space.load(path)
    with pytest.raises(NotFound, match="not a space"):
        Space.load(tmp_path)


def test_where_a_space_may_be_saved(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(BadInput, match=r"not a space, and not empty .thesis"):
        two_way().save(tmp_path)
    with pytest.raises(BadInput, match="is a file"):
        two_way().save(tmp_path / "thesis.tex")
    with pytest.raises(BadInput, match=r"no room for .'maps'"):
        Space(two_way().maps, {"maps": 1}).save(tmp_path / "s")
    with pytest.raises(BadInput, match="JSON"):
        Space(two_way().maps, {"x": {1, 2}}).save(tmp_path / "s")


class Lengths:
    """An encoder of texts that knows their length only."""

    modality = "text"

    def __init__(self, **changes):
        self.fingerprint = fingerprint(6, **changes)

    def encode(self, modality, items, *, batch_size=64):
        return np.stack([np.arange(6, dtype=np.float32) * len(item) for item in items])

    def tokens(self, modality, items):
        values = np.stack([np.arange(30, dtype=np.float32).reshape(5, 6) * len(item) for item in items])
        return Tokens(values, np.ones((len(items), 5), bool))


def test_encode(monkeypatch):
    made = two_way()
    loaded = []

    def load(name, modality, *, device="cpu"):
        loaded.append((name, modality, device))
        return Lengths()

    monkeypatch.setattr(encoders, "load", load)
    y = made.encode("text", ["a", "bb"])
    np.testing.assert_allclose(y, made.transform("text", Lengths().encode("text", ["a", "bb"])), atol=1e-6)
    made.encode("text", ["c"])
    assert loaded == [("tiny", "text", "cpu")]
    np.testing.assert_array_equal(made.encode("text", ["a", "bb"], encoder=Lengths()), y)
    with pytest.raises(WrongFingerprint, match="prompt is '' here and 'query: ' there"):
        made.encode("text", ["a"], encoder=Lengths(prompt="query: "))


def test_items_of_several_modalities_keep_their_order(monkeypatch):
    made = two_way()
    other = next(m for m in made.maps if m != "text")

    class Other(Lengths):
        modality = other

        def __init__(self):
            self.fingerprint = made.maps[other].fingerprint

        def encode(self, modality, items, *, batch_size=64):
            return np.stack([np.linspace(0, 1, self.fingerprint.dim, dtype=np.float32) * item for item in items])

    monkeypatch.setattr(
        encoders, "load", lambda name, modality, *, device="cpu": Lengths() if modality == "text" else Other()
    )
    mixed = [("text", "a"), (other, 3), (other, 1), ("text", "four"), (other, 2)]
    found = made.encode_mixed(mixed)
    for vector, (modality, item) in zip(found, mixed, strict=True):
        np.testing.assert_allclose(vector, made.encode(modality, [item])[0], atol=1e-5)
    assert made.encode_mixed([]).shape == (0, made.dim)
    with pytest.raises(BadInput, match="item 1 is no pair"):
        made.encode_mixed([("text", "a"), "b"])
    with pytest.raises(NotFound, match="smell"):
        made.encode_mixed([("smell", 1)])


def test_encode_tokens():
    pooled = token_map()
    made = Space({"text": pooled})
    y = made.encode("text", ["a", "bb"], encoder=Lengths(encoder="tokens"))
    assert y.shape == (2, 3)
    np.testing.assert_array_equal(y, pooled(Lengths().tokens("text", ["a", "bb"]).values))


def test_numpy_needs_no_torch(tmp_path):
    two_way().save(tmp_path / "s")
    code = (
        "import sys, numpy as np; from isthmus.space import Space; s = Space.load(sys.argv[1]);"
        "print(s.transform('text', np.ones((2, 6), 'f4')).shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "s"], capture_output=True, text=True, check=True)
    assert done.stdout == "(2, 3) False\n"
