import os
import shutil

import pytest
from PIL import Image

from isthmus import data
from isthmus.core.errors import BadInput, NotFound

from .made import RATE, recording


@pytest.fixture
def folder(tmp_path):
    """Three pictures, one with a caption beside it, one two folders down."""
    root = tmp_path / "pictures"
    (root / "trips" / "sea").mkdir(parents=True)
    for i, name in enumerate(["red_house-2.png", "trips/IMG.JPG", "trips/sea/Old  harbour.webp"]):
        Image.new("RGB", (8 + i, 8), (40 * i, 0, 0)).save(root / name)
    (root / "trips" / "IMG.txt").write_text("\ufeffa café\n by the road ", encoding="utf-8")
    (root / "notes.txt").write_text("not a caption")
    (root / "movie.mp4").write_bytes(b"...")
    return root


def by_id(dataset):
    return {r.id: r for r in dataset.records}


def aside(dataset):
    """{id: reason} of the records that cannot be loaded."""
    reasons = {}
    for record in dataset.records:
        try:
            record.load()
        except BadInput as error:
            assert record.digest() == record.digest(), "what cannot be loaded can still be told from others"
            reasons[record.id] = str(error)
    return reasons


def test_pictures_and_their_texts(folder):
    dataset = data.load(folder)
    assert (dataset.name, dataset.root, dataset.modalities) == ("pictures", folder.resolve(), ["image", "text"])
    assert [(r.key, r.text) for r in dataset.of("text")] == [
        ("notes.txt#passage=1", "not a caption"),
        ("red_house-2.png", "red house 2"),
        ("trips/IMG.JPG", "a café by the road"),
        ("trips/sea/Old  harbour.webp", "Old harbour"),
    ]
    for record in dataset.of("image"):
        assert record.load().mode == "RGB"
        assert record.uri == f"file:{record.key}"
        assert data.open_uri(record.uri, folder).size == record.load().size
    assert not aside(dataset)
    assert data.load(str(folder)).records[0].digest() == dataset.records[0].digest()


def test_near_duplicates(folder):
    shutil.copy(folder / "red_house-2.png", folder / "trips" / "copy.png")  # the same bytes
    Image.new("RGB", (5, 5)).save(folder / "trips" / "Copy.gif")  # the same text as the copy
    group = {r.key: r.group for r in data.load(folder).of("image")}
    assert group["red_house-2.png"] == group["trips/copy.png"] == group["trips/Copy.gif"]
    assert len(set(group.values())) == 3


def test_corrupt_pictures_and_captions_are_set_aside(folder):
    (folder / "broken.png").write_bytes((folder / "red_house-2.png").read_bytes()[:40])
    for name, caption in {"a": b"  \n", "b": b"\xff\xfe\xfa", "c": b"x" * 1_000_001}.items():
        Image.new("RGB", (4, 4), (0, 0, ord(name))).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_bytes(caption)
    Image.new("RGB", (3, 3)).save(folder / "__-.png")
    reasons = aside(data.load(folder))
    assert set(reasons) == {"broken.png|image|", "a.png|text|", "b.png|text|", "c.png|text|", "__-.png|text|"}
    assert "broken.png: the picture cannot be read" in reasons["broken.png|image|"]
    assert "a.txt: the caption is empty" in reasons["a.png|text|"]
    assert "b.txt: the caption cannot be read ('utf-8' codec" in reasons["b.png|text|"]
    assert "c.txt: the caption cannot be read (more than 1 MB)" in reasons["c.png|text|"]
    assert "no caption can be made of this name; put one in __-.txt" in reasons["__-.png|text|"]


def test_links(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    Image.new("RGB", (4, 4)).save(outside / "secret.png")
    (outside / "secret.txt").write_text("a secret")
    (folder / "leak.png").symlink_to(outside / "secret.png")
    (folder / "leak").symlink_to(outside)
    (folder / "trips" / "loop").symlink_to(folder)
    (folder / "inside.png").symlink_to(folder / "red_house-2.png")
    (folder / "gone.png").symlink_to(folder / "nothing.png")
    (folder / "self.png").symlink_to(folder / "self.png")
    (folder / "red_house-2.txt").symlink_to(outside / "secret.txt")
    dataset = data.load(folder)
    reasons = aside(dataset)
    assert "leads out of the folder" in reasons.pop("leak.png|image|")
    assert "a link to a folder is not followed" in reasons.pop("leak|image|")
    assert "a link to a folder is not followed" in reasons.pop("trips/loop|image|")
    assert "leads nowhere" in reasons.pop("gone.png|image|")
    assert "leads nowhere" in reasons.pop("self.png|image|")
    assert "the caption cannot be read (a link)" in reasons.pop("red_house-2.png|text|")
    assert not reasons
    assert by_id(dataset)["inside.png|image|"].group == "inside.png"
    assert by_id(dataset)["red_house-2.png|image|"].group == "inside.png", "a link within is the same picture"
    assert "secret" not in str([r.text for r in dataset.records])


def test_hidden_files_and_other_files_are_passed_over(folder):
    (folder / ".git").mkdir()
    shutil.copy(folder / "red_house-2.png", folder / ".git" / "a.png")
    shutil.copy(folder / "red_house-2.png", folder / "._a.png")
    assert len(data.load(folder).of("image")) == 3


def test_strange_names(folder):
    shutil.copy(folder / "red_house-2.png", os.fsencode(folder) + b"/caf\xe9.png")
    Image.new("RGB", (4, 4)).save(folder / "猫|#%.png")
    os.mkfifo(folder / "pipe.png")
    dataset = data.load(folder)
    assert aside(dataset).keys() == {"caf\\xe9.png|image|", "pipe.png|image|"}
    assert by_id(dataset)["猫|#%.png|text|"].text == "猫|#%"
    assert data.open_uri("file:猫|#%.png", folder).size == (4, 4)


def test_a_picture_that_vanishes_is_set_aside(folder):
    dataset = data.load(folder)
    (folder / "red_house-2.png").unlink()
    assert "No such file" in aside(dataset)["red_house-2.png|image|"]


def test_the_order_does_not_depend_on_the_file_system(folder):
    keys = [r.key for r in data.load(folder).of("image")]
    assert keys == sorted(keys)


def test_errors(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"empty holds no picture, recording, video or document at any depth$"):
        data.load(tmp_path / "empty")
    (tmp_path / "empty" / "a.png").symlink_to(folder / "red_house-2.png")
    with pytest.raises(BadInput, match=r"holds no picture.*set aside: a\.png, a link that leads out"):
        data.load(tmp_path / "empty")
    with pytest.raises(BadInput, match=r"notes\.txt is not a folder; give the folder"):
        data.load(folder / "notes.txt")
    with pytest.raises(NotFound, match="or name an existing folder"):
        data.load(tmp_path / "nowhere")
    with pytest.raises(NotFound, match="nowhere: no such folder"):
        from isthmus.data.folder import load

        load(tmp_path / "nowhere")


def test_open_uri_stays_in_the_folder(folder, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (folder / "leak.png").symlink_to(tmp_path / "secret.png")
    for uri in ("file:../secret.png", f"file:{tmp_path}/secret.png", "file:leak.png"):
        with pytest.raises(BadInput, match="lies outside"):
            data.open_uri(uri, folder)
    with pytest.raises(NotFound, match="the file is gone"):
        data.open_uri("file:none.png", folder)
    with pytest.raises(BadInput, match="give that folder as root"):
        data.open_uri("file:red_house-2.png")


def test_recordings_by_uri(folder, tmp_path):
    recording(folder / "say.wav")
    recording(tmp_path / "secret.wav")
    assert data.open_sound_uri("file:say.wav", folder)["sampling_rate"] == RATE
    with pytest.raises(BadInput, match="lies outside"):
        data.open_sound_uri("file:../secret.wav", folder)
    with pytest.raises(NotFound, match="no recording that can be opened by itself"):
        data.open_sound_uri("openmoji:1F600")
