"""A folder of files of many kinds: what they become, and what is set aside."""

import numpy as np
import pytest
from PIL import Image

from isthmus import data
from isthmus.core.errors import BadInput, NotFound
from isthmus.data.kinds import kind_of
from isthmus.data.passages import passages_of, read_passages
from isthmus.data.sound import read_sound
from isthmus.data.video import frame_times, read_frame
from tests import require

from . import made


@pytest.fixture
def folder(tmp_path):
    for module in ("av", "soundfile", "pypdf", "bs4"):
        require.module(module, "files")
    root = tmp_path / "mixed"
    made.picture(root / "a" / "red.png")
    made.recording(root / "a" / "door-bell.wav")
    (root / "a" / "door-bell.txt").write_text("somebody rings")
    made.video(root / "b" / "c" / "film.mp4")
    made.coded_recording(root / "b" / "voice.m4a")
    made.pdf(root / "book.pdf", ["The first page is about owls.", "The second page is about trains."])
    (root / "notes.md").write_text("# Trains\n\nThey run on **rails**, see [here](http://example.org/x).\n")
    (root / "page.html").write_text("<html><style>p {}</style><body><p>Apples</p><p>and pears</p><script>x</script>")
    (root / "words.txt").write_text("\n\n".join(f"Paragraph {i}. " + "word " * 60 for i in range(5)))
    (root / "table.json").write_text("{}")
    (root / "data.bin").write_bytes(b"\x00\x01\x02")
    return root


def by_id(dataset):
    return {r.id: r for r in dataset.records}


def test_every_kind_of_file(folder):
    dataset = data.load(folder)
    assert dataset.modalities == ["image", "speech", "text"]
    found = by_id(dataset)
    assert set(found) == {
        "a/red.png|image|",
        "a/red.png|text|",
        "a/door-bell.wav|speech|",
        "a/door-bell.wav|text|",
        "b/c/film.mp4#t=0|image|",
        "b/c/film.mp4#t=2|image|",
        "b/c/film.mp4#t=4|image|",
        "b/c/film.mp4|text|",
        "b/voice.m4a|speech|",
        "b/voice.m4a|text|",
        "book.pdf#page=1&passage=1|text|",
        "book.pdf#page=2&passage=1|text|",
        "notes.md#passage=1|text|",
        "page.html#passage=1|text|",
        "words.txt#passage=1|text|",
        "words.txt#passage=2|text|",
        "words.txt#passage=3|text|",
    }
    assert found["a/door-bell.wav|text|"].text == "somebody rings"
    assert found["book.pdf#page=2&passage=1|text|"].text == "The second page is about trains."
    assert found["notes.md#passage=1|text|"].text == "Trains They run on rails, see here."
    assert found["page.html#passage=1|text|"].text == "Apples and pears"
    assert set(dataset.set_aside) == {"table.json", "data.bin"}
    assert "neither a picture" in dataset.set_aside["data.bin"]
    for record in dataset.records:
        record.load()
        assert record.digest() and record.uri.startswith("file:")
    assert len({r.digest() for r in dataset.of("image")}) == 4
    film = {r.group for r in dataset.records if r.key.startswith("b/c/film")}
    assert film == {"b/c/film.mp4"}, "all of a video is on one side of a split"
    for colour, t in (((255, 0, 0), 0), ((0, 255, 0), 2), ((0, 0, 255), 4)):
        shown = np.asarray(data.open_uri(f"file:b/c/film.mp4#t={t}", folder)).reshape(-1, 3).mean(0)
        np.testing.assert_allclose(shown, colour, atol=25)
    assert found["b/voice.m4a|speech|"].load()["sampling_rate"] == made.RATE
    assert data.load(folder, recordings="sound").modalities == ["image", "sound", "text"]
    assert len([r for r in data.load(folder, every=0.5).of("image") if "film" in r.key]) == 12


def test_kinds_are_told_by_content(tmp_path):
    made.picture(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").rename(tmp_path / "x.txt")
    made.picture(tmp_path / "gif.gif")
    made.picture(tmp_path / "web.webp")
    made.recording(tmp_path / "beep.dat")
    starts = {
        "a.mov": b"\x00\x00\x00\x14ftypqt  ",
        "b.mp4": b"\x00\x00\x00\x14ftypM4A ",
        "c.heic": b"\x00\x00\x00\x14ftypheic",
        "d": b"fLaC",
        "e.mp3": b"ID3\x04",
        "f": b"\x1a\x45\xdf\xa3",
        "g.svg": b"<?xml version='1.0'?><svg/>",
        "h": b" <!DOCTYPE HTML><p>",
        "i.md": b"# x",
        "j.py": b"import os",
        "k.ogg": b"OggS" + bytes(24) + b"\x01vorbis",
        "l.ogv": b"OggS" + bytes(24) + b"\x80theora",
        "m.avi": b"RIFF\x00\x00\x00\x00AVI LIST",
        "n.aiff": b"FORM\x00\x00\x00\x00AIFF",
        "o.png": b"",
        "p.txt": b"",
        "q": b"",
        "r.svg": b"",
        "s.png": b"no picture",
    }
    for name, start in starts.items():
        (tmp_path / name).write_bytes(start)
    kinds = {path.name: kind_of(path) for path in sorted(tmp_path.iterdir())}
    expected = ["video", "sound", None, "sound", "sound", "video", "svg", "html", "markdown", None, "sound", "video"]
    expected += ["video", "sound", "image", "text", None, "svg", "image"]
    assert [kinds[name] for name in starts] == expected
    assert (kinds["x.txt"], kinds["gif.gif"], kinds["web.webp"], kinds["beep.dat"]) == (
        "image",
        "image",
        "image",
        "sound",
    )


def reasons(dataset):
    told = {}
    for record in dataset.records:
        try:
            record.load()
        except BadInput as error:
            told[record.id] = str(error)
    return told


def test_damaged_files_are_set_aside(folder):
    for name in ("book.pdf", "b/c/film.mp4", "a/door-bell.wav"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 3])
    (folder / "empty.txt").write_text(" \n")
    (folder / "latin.txt").write_bytes("caf\xe9 noir".encode("latin-1"))
    (folder / "none.png").write_bytes(b"")
    told = reasons(data.load(folder))
    assert "PDF cannot be read" in told["book.pdf|text|"]
    assert "video cannot be read" in told["b/c/film.mp4|image|"]
    assert "no text in it" in told["empty.txt|text|"]
    assert "not UTF-8 at byte 3" in told["latin.txt|text|"]
    assert "none.png: not a PNG" in told["none.png|image|"]
    assert told["book.pdf|text|"].startswith(str(folder.resolve() / "book.pdf"))


def test_without_a_package_the_rest_is_read(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pypdf", None)
    dataset = data.load(folder)
    assert "isthmus[documents]" in dataset.set_aside["book.pdf"]
    assert "page.html#passage=1|text|" in by_id(dataset)


def test_errors(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "x.bin").write_bytes(b"\x00")
    with pytest.raises(BadInput, match=r"no picture, recording.*set aside: x.bin"):
        data.load(tmp_path / "empty")
    with pytest.raises(BadInput, match="some seconds apart"):
        frame_times(folder / "b/c/film.mp4", 0)
    with pytest.raises(BadInput, match="cannot be read"):
        read_frame(folder / "notes.md", 0)
    with pytest.raises(BadInput, match="lies outside"):
        data.open_uri("file:../mixed/b/c/film.mp4#t=2", folder / "a")
    with pytest.raises(NotFound, match="gone"):
        data.open_uri("file:nothing.mp4#t=2", folder)
    with pytest.raises(BadInput, match="unexpected keyword"):
        data.load(folder, evry=2)
    with pytest.raises(BadInput, match="cannot be read"):
        read_sound(folder / "notes.md")


def test_sound_inside_a_video_container(tmp_path):
    require.module("av", "files")
    made.coded_recording(tmp_path / "speech.mp4")
    dataset = data.load(tmp_path)
    assert [r.id for r in dataset.records] == ["speech.mp4|speech|", "speech.mp4|text|"]
    assert abs(len(dataset.records[0].load()["array"]) / made.RATE - 1) < 0.2


def test_passages():
    text = "\n\n".join(["one two three"] * 5)
    assert passages_of(text, words=7) == ["one two three one two three"] * 2 + ["one two three"]
    long = "First sentence is here. Second one follows! " + "x " * 25
    assert passages_of(long, words=10) == [
        "First sentence is here. Second one follows!",
        *["x " * 9 + "x"] * 2,
        "x x x x x",
    ]
    assert passages_of(" \n \n") == []
    joined = " ".join(passages_of(text + "\n\n" + long, words=4)).split()
    assert joined == (text + "\n\n" + long).split(), "nothing is lost"


def test_a_document_that_is_too_large(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("x" * 2000)
    monkeypatch.setattr("isthmus.data.passages.MAX_BYTES", 1000)
    with pytest.raises(BadInput, match="that are read"):
        read_passages(tmp_path / "a.txt", "text")


def test_pictures_of_every_sort(tmp_path):
    made.picture(tmp_path / "plain.png")
    Image.new("CMYK", (20, 20), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg")
    rotated = Image.new("RGB", (40, 20), "blue")
    exif = rotated.getexif()
    exif[0x0112] = 6
    rotated.save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(tmp_path / "deep.png")
    Image.new("RGBA", (9, 9), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    loaded = {r.key: r.load() for r in data.load(tmp_path).of("image")}
    assert {p.mode for p in loaded.values()} == {"RGB"}
    assert loaded["turned.jpg"].size == (20, 40)
    assert loaded["clear.png"].getpixel((0, 0)) == (255, 255, 255)
    assert abs(loaded["deep.png"].getpixel((0, 0))[0] - 156) <= 1
    red = loaded["cmyk.jpg"].getpixel((5, 5))
    assert red[0] > 200 and red[1] < 60
