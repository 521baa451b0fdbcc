"""Embedding a folder again after files were added, changed or deleted."""

import numpy as np
from PIL import Image

from isthmus import encoders
from isthmus.store.store import Store
from isthmus.workbench.embed import embed


def encoder(modality, seen):
    def colours(items):
        seen.extend(items)
        return np.array([[*np.asarray(x, float).reshape(-1, 3).mean(0), 1.0] for x in items])

    def letters(items):
        seen.extend(items)
        return np.array([[len(x), x.count("e"), 1.0, 2.0] for x in items])

    fn = {"image": colours, "text": letters}[modality]
    return encoders.wrap(fn, modality=modality, dim=4, revision="1", name=modality)


def picture(path, colour):
    Image.new("RGB", (9, 9), colour).save(path)


def test_only_what_changed(tmp_path):
    root = tmp_path / "files"
    root.mkdir()
    for i, name in enumerate(("one", "two", "three", "four")):
        picture(root / f"{name}.png", (60 * i, 0, 0))
    (root / "notes.md").write_text("a note")
    seen = {"image": [], "text": []}

    def run():
        for listed in seen.values():
            listed.clear()
        return embed(root, encoders={m: encoder(m, seen[m]) for m in seen}, out=tmp_path / "store")

    assert sorted(set(run().vectors("image").keys)) == ["four.png", "one.png", "three.png", "two.png"]
    store = run()
    assert seen == {"image": [], "text": []}, "nothing is encoded twice"
    before = dict(zip(store.vectors("image").keys, store.vectors("image").x, strict=True))

    (root / "two.png").unlink()
    picture(root / "three.png", (0, 250, 0))
    picture(root / "five.png", (0, 0, 250))
    (root / "notes.md").unlink()
    (root / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nx")
    store = run()
    assert len(seen["image"]) == 2 and seen["text"] == ["broken", "five"]
    vectors = store.vectors("image")
    after = dict(zip(vectors.keys, vectors.x, strict=True))
    assert sorted(after) == ["five.png", "four.png", "one.png", "three.png"]
    np.testing.assert_array_equal(after["one.png"], before["one.png"])
    assert after["three.png"][1] == 250 and before["three.png"][1] == 0
    assert sorted(set(store.vectors("text").keys)) == ["broken.png", "five.png", "four.png", "one.png", "three.png"]
    assert store.rejected()["key"].to_pylist() == ["broken.png"]
    assert not Store.open(store.path).verify()
    assert sum(store.status()["rows"]["image"].values()) == 4

    (root / "broken.png").unlink()
    store = run()
    assert store.rejected().num_rows == 0
    for name in ("one", "three", "four"):
        (root / f"{name}.png").unlink()
    assert run().vectors("image").keys.tolist() == ["five.png"]


def test_removing_rows(tmp_path):
    root = tmp_path / "files"
    root.mkdir()
    for i in range(6):
        picture(root / f"{i}.png", (40 * i, 0, 0))
    store = embed(root, encoders={"image": encoder("image", [])}, out=tmp_path / "store", batch_size=2)
    files = {p.name for p in store.path.glob("part-*.parquet")}
    assert store.remove(["1.png|image|", "nobody"]) == 1
    assert store.remove(["1.png|image|"]) == 0
    opened = Store.open(store.path)
    assert opened.vectors("image").keys.tolist() == [f"{i}.png" for i in (0, 2, 3, 4, 5)]
    assert {p.name for p in store.path.glob("part-*.parquet")} == {p["file"] for p in opened.parts} != files
    assert store.remove([f"{i}.png|image|" for i in range(6)]) == 5
    assert Store.open(store.path).modalities() == []
