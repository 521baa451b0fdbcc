import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from isthmus.core.errors import BadInput, MissingExtra
from isthmus.data import picture
from isthmus.data.picture import SIDE, draw_svg, read_picture
from tests import require

RED, WHITE, BLUE = (255, 0, 0), (255, 255, 255), (0, 0, 255)
XMLNS = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
SVG = f'<svg {XMLNS} width="{{w}}" height="{{h}}">{{b}}</svg>'


def near(found, wanted, by=6):
    return all(abs(f - w) <= by for f, w in zip(found, wanted, strict=True))


def save(path, image, **options):
    image.save(path, **options)
    return path


def halves():
    """40 × 20, the left half red, the right half blue."""
    image = Image.new("RGB", (40, 20), RED)
    image.paste(BLUE, (20, 0, 40, 20))
    return image


def svg(path, body, w=40, h=20):
    path.write_text(SVG.format(w=w, h=h, b=body))
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif"])
def test_every_format(tmp_path, suffix):
    read = read_picture(save(tmp_path / f"a.{suffix}", halves()))
    assert (read.mode, read.size) == ("RGB", (40, 20))
    assert near(read.getpixel((4, 10)), RED)
    assert near(read.getpixel((36, 10)), BLUE)


def test_the_content_decides_and_not_the_name(tmp_path):
    assert read_picture(save(tmp_path / "a.jpg", halves(), format="PNG")).size == (40, 20)


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
@pytest.mark.parametrize(
    ("orientation", "size", "corner"), [(1, (40, 20), RED), (3, (40, 20), BLUE), (6, (20, 40), RED)]
)
def test_the_rotation_noted_by_a_camera(tmp_path, suffix, orientation, size, corner):
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = read_picture(save(tmp_path / f"a.{suffix}", halves(), exif=exif, quality=95))
    assert read.size == size
    assert near(read.getpixel((2, 2)), corner)


def test_rotation_and_transparency_together(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    image = halves().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 20, 20))
    read = read_picture(save(tmp_path / "a.png", image, exif=exif))
    assert (read.getpixel((2, 2)), read.getpixel((38, 2))) == (BLUE, WHITE)


def test_transparency_is_laid_on_white(tmp_path):
    image = Image.new("RGBA", (10, 10), (255, 0, 0, 0))
    image.paste((255, 0, 0, 128), (5, 0, 10, 10))
    read = read_picture(save(tmp_path / "rgba.png", image))
    assert read.getpixel((1, 1)) == WHITE
    assert near(read.getpixel((8, 8)), (255, 127, 127))
    grey = Image.new("LA", (10, 10), (0, 0))
    assert read_picture(save(tmp_path / "la.png", grey)).getpixel((1, 1)) == WHITE
    palette = Image.new("P", (10, 10), 0)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    for suffix in ("gif", "png"):
        path = save(tmp_path / f"p.{suffix}", palette, transparency=0)
        assert read_picture(path).getpixel((1, 1)) == WHITE


def test_other_colours(tmp_path):
    cmyk = Image.new("CMYK", (10, 10), (0, 255, 255, 0))
    assert near(read_picture(save(tmp_path / "cmyk.jpg", cmyk, quality=95)).getpixel((5, 5)), RED, 12)
    assert read_picture(save(tmp_path / "l.png", Image.new("L", (9, 9), 99))).getpixel((1, 1)) == (99,) * 3
    deep = Image.fromarray(np.full((9, 9), 128 * 256 + 7, np.uint16))
    assert read_picture(save(tmp_path / "deep.png", deep)).getpixel((1, 1)) == (128,) * 3
    assert read_picture(save(tmp_path / "one.png", Image.new("1", (9, 9), 1))).getpixel((1, 1)) == WHITE


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (9, 9), RED), Image.new("RGB", (9, 9), BLUE)]
    for suffix in ("gif", "webp", "png"):
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
        assert read_picture(path).getpixel((1, 1)) == RED


def test_a_large_picture_comes_down(tmp_path):
    for suffix in ("jpg", "png"):
        read = read_picture(save(tmp_path / f"a.{suffix}", Image.new("RGB", (4000, 1000), RED)))
        assert read.size == (SIDE, SIDE // 4)
    assert read_picture(save(tmp_path / "thin.png", Image.new("RGB", (5000, 1)))).size == (SIDE, 1)


def _claims(width, height):
    """A PNG file that claims a size, without the pixels."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_picture_of_too_many_pixels_is_refused_unread(tmp_path):
    (tmp_path / "bomb.png").write_bytes(_claims(60_000, 60_000))
    with pytest.raises(BadInput, match=r"bomb\.png: 60000 × 60000 pixels are more than the 50 million.*make.*smaller"):
        read_picture(tmp_path / "bomb.png")


def test_a_large_jpeg_is_decoded_at_a_fraction(tmp_path, monkeypatch):
    path = save(tmp_path / "a.jpg", Image.new("RGB", (6400, 6400), RED))
    monkeypatch.setattr(picture, "MAX_PIXELS", 1_000_000)  # 41 million pixels, an eighth of each side: 640 000
    read = read_picture(path)
    assert read.size == (SIDE, SIDE)
    assert near(read.getpixel((100, 100)), RED)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif"])
def test_a_corrupt_picture(tmp_path, suffix):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    whole = save(tmp_path / f"whole.{suffix}", noise).read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "start": whole[:13], "empty": b"", "text": b"hello"}.items():
        path = tmp_path / f"{name}.{suffix}"
        path.write_bytes(content)
        with pytest.raises(BadInput, match=rf"{name}\.{suffix}: .*(cannot be read|not a PNG)"):
            read_picture(path)


def test_no_file(tmp_path):
    for name in ("none.png", "none.svg"):
        with pytest.raises(BadInput, match=rf"{name}: the picture cannot be read \(.*No such file"):
            read_picture(tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(BadInput, match=r"folder\.png: the picture cannot be read"):
        read_picture(tmp_path / "folder.png")


def test_drawings(tmp_path):
    require.module("resvg_py", "image")
    read = read_picture(svg(tmp_path / "a.svg", '<rect width="20" height="20" fill="#f00"/>'))
    assert (read.mode, read.size) == ("RGB", (SIDE, SIDE // 2))
    assert (read.getpixel((9, 9)), read.getpixel((SIDE - 9, 9))) == (RED, WHITE)
    assert draw_svg((tmp_path / "a.svg").read_text(), 60).size == (60, 30)


def test_an_embedded_picture_is_drawn(tmp_path):
    require.module("resvg_py", "image")
    import base64

    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), BLUE).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    body = f'<image xlink:href="data:image/png;base64,{data}" width="40" height="20" preserveAspectRatio="none"/>'
    assert read_picture(svg(tmp_path / "a.svg", body)).getpixel((300, 200)) == BLUE


DEEP = "<g>" * 150 + "</g>" * 150
CHAIN = '<g id="a0"/>' + "".join(f'<g id="a{i + 1}"><use href="#a{i}"/></g>' for i in range(80))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('<image href="/etc/passwd"/>', "shows another file .'/etc/passwd'"),
        ('<image xlink:href="secret.png"/>', r"shows another file .'secret\.png'"),
        ('<filter id="f"><feImage href="a.png"/></filter>', "shows another file"),
        (DEEP, "nests more than 100 elements"),
        (CHAIN, "nests more than 100 elements"),
        ('<g id="a"><use href="#a"/></g>', "nests more than 100 elements"),
        ('<g id="a" mask="url(#m)"/><mask id="m"><use href="#a"/></mask>', "nests more than 100 elements"),
        ("<g>", "mismatched tag"),
    ],
)
def test_a_drawing_that_cannot_be_trusted(tmp_path, body, message):
    with pytest.raises(BadInput, match=rf"a\.svg: .*{message}"):
        read_picture(svg(tmp_path / "a.svg", body))


def test_not_a_drawing(tmp_path):
    require.module("resvg_py", "image")
    for content in ("", "hello", "<html/>", '<svg xmlns="http://www.w3.org/2000/svg" width="0" height="0"/>'):
        (tmp_path / "a.svg").write_text(content)
        with pytest.raises(BadInput, match=r"a\.svg: "):
            read_picture(tmp_path / "a.svg")
    with (tmp_path / "a.svg").open("wb") as file:
        file.truncate(picture.MAX_SVG_BYTES + 1)
    with pytest.raises(BadInput, match="more than 20 MB"):
        read_picture(tmp_path / "a.svg")


def test_drawing_needs_its_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "resvg_py", None)
    with pytest.raises(MissingExtra, match=r"drawing SVG pictures needs .*'resvg-py': pip install 'isthmus\[image\]'"):
        draw_svg(SVG.format(w=4, h=4, b=""), 4)
