import json
from xml.etree import ElementTree

import numpy as np
import pytest

from isthmus.core.errors import BadInput, NotFound, WrongFingerprint
from isthmus.data.records import Record
from isthmus.metrics.gap import separability
from isthmus.metrics.geometry import alignment, effective_rank, modality_gap, uniformity
from isthmus.metrics.hubness import hubness_skewness, k_occurrence, orphan_share, robin_hood
from isthmus.metrics.similarity import linear_cka
from isthmus.space import Map, Space
from isthmus.store.fingerprint import Fingerprint
from isthmus.store.store import Store
from isthmus.workbench import diagnose as module
from isthmus.workbench.diagnose import diagnose

SHIFT = 3.0


def fingerprint(modality, dim, encoder):
    return Fingerprint(
        encoder=encoder, modality=modality, dim=dim, weights="0" * 64, preprocess="", pooling="", normalised=False
    )


def fill(store, modality, keys, variants, x, encoder):
    rows = [
        Record(key=k, modality=modality, variant=v, text=f"{k} {v}", load=str, digest=lambda k=k, v=v: f"{k}{v}")
        for k, v in zip(keys, variants, strict=True)
    ]
    with store.writer(fingerprint(modality, x.shape[1], encoder)) as writer:
        writer.add(rows, x)


def make(path, *, encoders=("clip", "clip"), width=6):
    """20 pictures and two names each, of one encoder whose modalities lie apart; the space closes the gap."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((20, 6))
    keys = [f"k{i:02d}" for i in range(20)]
    shift = np.zeros(6)
    shift[0] = SHIFT
    store = Store.create(path, source={"name": "two cones"})
    fill(store, "image", keys, [""] * 20, centres + shift, encoders[0])
    names = np.repeat(centres, 2, axis=0) - shift + 0.1 * rng.standard_normal((40, 6))
    names = np.pad(names, ((0, 0), (0, width - 6)))
    fill(store, "text", np.repeat(keys, 2).tolist(), ["en", "de"] * 20, names, encoders[1])
    maps = {
        "image": Map(
            [{"op": "centre", "mean": "m"}, {"op": "normalise"}],
            {"m": shift.astype(np.float32)},
            fingerprint("image", 6, encoders[0]),
        ),
        "text": Map(
            [{"op": "centre", "mean": "m"}, {"op": "linear", "weight": "w"}, {"op": "normalise"}],
            {"m": -np.pad(shift, (0, width - 6)).astype(np.float32), "w": np.eye(6, width, dtype=np.float32)},
            fingerprint("text", width, encoders[1]),
        ),
    }
    return store, Space(maps)


@pytest.fixture
def cones(tmp_path):
    return make(tmp_path / "store")


def test_oracle(cones):
    """Every figure is that of `metrics` on the vectors of the store."""
    store, space = cones
    report = diagnose(store, space=space)
    v = {m: store.vectors(m) for m in ("image", "text")}
    raw = {m: v[m].x / np.linalg.norm(v[m].x, axis=1, keepdims=True) for m in v}
    mapped = {m: space.transform(m, v[m].x) for m in v}
    for m in v:
        entry = report["modalities"][m]
        assert (entry["n"], entry["width"]) == (len(v[m]), 6)
        assert entry["raw"] == {"effective_rank": effective_rank(raw[m]), "uniformity": uniformity(raw[m])}
        assert entry["mapped"]["effective_rank"] == pytest.approx(effective_rank(mapped[m]))
        assert entry["mapped"]["uniformity"] == pytest.approx(uniformity(mapped[m]))
    pair = report["pairs"]["image:text"]
    assert (pair["items"], pair["pairs"]) == (20, 40)
    rows = [int(np.flatnonzero(v["image"].keys == k)[0]) for k in v["text"].keys]
    for name, x in (("raw", raw), ("mapped", mapped)):
        assert pair[name]["modality_gap"] == pytest.approx(modality_gap(x["image"], x["text"]))
        assert pair[name]["alignment"] == pytest.approx(alignment(x["image"][rows], x["text"]))
        assert pair[name]["separability"] == separability(x["image"], x["text"])
        assert -8 <= pair[name]["cross_uniformity"] < 0
        means = [np.mean(x["text"][v["text"].keys == k].astype(float), axis=0) for k in v["image"].keys]
        expected = linear_cka(x["image"], np.stack(means), unbiased=True)
        assert pair[name]["linear_cka"] == pytest.approx(expected, abs=1e-6)
    hubs = pair["hubness"]["text_to_image"]
    counts = [k_occurrence(mapped["text"][v["text"].variants == lang], mapped["image"]) for lang in ("de", "en")]
    for figure, function in (
        ("hubness_skewness", hubness_skewness),
        ("orphan_share", orphan_share),
        ("robin_hood", robin_hood),
    ):
        assert hubs[figure] == pytest.approx(np.mean([function(c) for c in counts]))
    total = counts[0] + counts[1]
    assert hubs["top"][0]["count"] == total.max()
    assert hubs["top"][0]["id"] == v["image"].ids[np.argmax(total)]
    assert hubs["top"][0]["evenly"] == pytest.approx(20)
    assert len(hubs["top"]) == 8


def test_the_space_closes_the_gap(cones):
    store, space = cones
    pair = diagnose(store, space=space)["pairs"]["image:text"]
    assert pair["mapped"]["modality_gap"] < 0.1 < 1 < pair["raw"]["modality_gap"]
    assert pair["mapped"]["alignment"] < 0.1 < 1 < pair["raw"]["alignment"]
    assert pair["mapped"]["separability"] <= 0.75 < 1 == pair["raw"]["separability"]
    # strangers of opposite cones are far apart as a whole, and spread once the cones are one
    assert pair["raw"]["cross_uniformity"] < -4.5 < pair["mapped"]["cross_uniformity"] < -2
    assert pair["mapped"]["alignment_of_strangers"] == pytest.approx(2, abs=0.5)
    assert pair["mapped"]["linear_cka"] > 0.95


def test_hub_in_the_middle(tmp_path):
    """One picture points where all names point on the whole: it is the first hub of most queries."""
    rng = np.random.default_rng(2)
    spread = rng.standard_normal((40, 30))
    common = np.ones(30)
    store = Store.create(tmp_path / "store", source={"name": "a hub"})
    keys = [f"k{i:02d}" for i in range(40)]
    pictures = spread.copy()
    pictures[17] = common
    fill(store, "image", keys, [""] * 40, pictures, "e")
    fill(store, "text", keys, ["en"] * 40, 0.7 * common + spread, "e")
    space = Space({m: Map([{"op": "normalise"}], {}, fingerprint(m, 30, "e")) for m in ("image", "text")})
    hubs = diagnose(store, space=space)["pairs"]["image:text"]["hubness"]["text_to_image"]
    assert hubs["top"][0]["key"] == "k17"
    assert hubs["top"][0]["count"] == 40
    assert hubs["top"][0]["evenly"] == 10


def test_raw_is_left_out_where_axes_are_not_shared(tmp_path):
    for name, arguments in (("encoders", {"encoders": ("cnn", "bert")}), ("widths", {"width": 9})):
        store, space = make(tmp_path / name, **arguments)
        pair = diagnose(store, space=space)["pairs"]["image:text"]
        assert set(pair["raw"]) == {"linear_cka"}
        assert pair["raw"]["linear_cka"] > 0.5
        assert "modality_gap" in pair["mapped"]


def test_json_and_determinism(cones):
    store, space = cones
    report = diagnose(store, space=space, seed=1)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert diagnose(store, space=space, seed=1) == report


def test_samples_stay_close(cones, monkeypatch):
    store, space = cones
    whole = diagnose(store, space=space)["pairs"]["image:text"]
    monkeypatch.setattr(module, "SAMPLE", 15)
    part = diagnose(store, space=space)["pairs"]["image:text"]
    assert part["pairs"] == 15
    assert part["mapped"]["alignment"] == pytest.approx(whole["mapped"]["alignment"], rel=0.6)
    # 15 of the 20 names of each language, ten places each, over 20 pictures
    assert part["hubness"]["text_to_image"]["top"][0]["evenly"] == pytest.approx(15)
    for seed in range(5):
        i, j = module._pairs(*(store.vectors(m).keys for m in ("image", "text")), np.random.default_rng(seed))
        assert (store.vectors("image").keys[i] == store.vectors("text").keys[j]).all()
        assert len(set(zip(i, j, strict=True))) == 15


def test_few_items_have_no_cka(cones):
    store, space = cones
    pair = diagnose(store, space=space, keys=["k01", "k02"])["pairs"]["image:text"]
    assert pair["mapped"]["linear_cka"] is None
    assert pair["items"] == 2


def test_three_modalities_and_keys(cones):
    store, space = cones
    rng = np.random.default_rng(3)
    fill(store, "sound", [f"k{i:02d}" for i in range(5, 25)], [""] * 20, rng.standard_normal((20, 4)), "ear")
    sound = Map(
        [{"op": "linear", "weight": "w"}], {"w": np.eye(6, 4, dtype=np.float32)}, fingerprint("sound", 4, "ear")
    )
    wide = Space({**space.maps, "sound": sound})
    report = diagnose(store, space=wide)
    assert set(report["modalities"]) == {"image", "sound", "text"}
    assert set(report["pairs"]) == {"image:sound", "image:text", "sound:text"}
    assert report["pairs"]["image:sound"]["items"] == 15
    # the space above knows no sound: it is left out unless asked for
    assert set(diagnose(store, space=space)["modalities"]) == {"image", "text"}
    named = diagnose(store, space=wide, modalities=["text", "sound"], keys=[f"k{i:02d}" for i in range(9)])
    assert set(named["pairs"]) == {"text:sound"}
    assert named["modalities"]["text"]["n"] == 18


def test_progress_and_paths(cones, tmp_path):
    store, space = cones
    space.save(tmp_path / "space")
    seen = []
    report = diagnose(store.path, space=tmp_path / "space", progress=lambda *step: seen.append(step))
    assert report == diagnose(store, space=space)
    assert seen == [("diagnose", i, 3) for i in (1, 2, 3)]


def test_errors(cones, tmp_path):
    store, space = cones
    with pytest.raises(BadInput, match=r"at least two different modalities, got \['text'\]"):
        diagnose(store, space=space, modalities=["text"])
    with pytest.raises(BadInput, match="at least two different modalities"):
        diagnose(store, space=space, modalities=["text", "text"])
    with pytest.raises(BadInput, match="at least two different modalities"):
        diagnose(store, space=Space({"text": space.maps["text"]}))
    with pytest.raises(NotFound, match="did you mean 'image'"):
        diagnose(store, space=space, modalities=["text", "imag"])
    with pytest.raises(BadInput, match="at least 2 records"):
        diagnose(store, space=space, keys=["k01"])
    with pytest.raises(BadInput, match="no image record"):
        diagnose(store, space=space, keys=["nowhere"])
    other = Map([{"op": "normalise"}], {}, fingerprint("text", 6, "other"))
    with pytest.raises(WrongFingerprint, match="encoder is 'other' here and 'clip' there"):
        diagnose(store, space=Space({**space.maps, "text": other}))
    apart = Store.create(tmp_path / "apart", source={"name": "apart"})
    fill(apart, "image", ["a", "b"], ["", ""], np.eye(6)[:2], "clip")
    fill(apart, "text", ["c", "d"], ["", ""], np.eye(6)[:2], "clip")
    with pytest.raises(BadInput, match="image:text: no item has both"):
        diagnose(apart, space=space)
    zero = Store.create(tmp_path / "zero", source={"name": "zero"})
    fill(zero, "image", ["a", "b"], ["", ""], np.zeros((2, 6)), "clip")
    fill(zero, "text", ["a", "b"], ["", ""], np.eye(6)[:2], "clip")
    with pytest.raises(BadInput, match="image before the space row 0 is all zeros"):
        diagnose(zero, space=space)


def test_drawings(cones, tmp_path):
    store, space = cones
    folder = tmp_path / "new" / "drawings"
    report = diagnose(store, space=space, draw=folder)
    wanted = [folder / "image-text.svg", folder / "image-text-spectrum.svg"]
    assert report["drawn"] == [str(path) for path in wanted]
    assert sorted(folder.iterdir()) == sorted(wanted)
    plane, spectra = (ElementTree.fromstring(path.read_text(encoding="utf-8")) for path in wanted)
    assert len([e for e in plane.iter() if e.tag.endswith("circle")]) == 80  # 40 pairs, both ends
    assert "axes hold 90 %" in ElementTree.tostring(spectra, encoding="unicode")
    first = wanted[0].read_text(encoding="utf-8")
    diagnose(store, space=space, draw=folder)
    assert wanted[0].read_text(encoding="utf-8") == first
    assert "drawn" not in diagnose(store, space=space)
    with pytest.raises(BadInput, match="is a file"):
        diagnose(store, space=space, draw=wanted[0])
