import io
import zipfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from isthmus import data
from isthmus.core.errors import BadInput, MissingExtra, NotFound
from isthmus.data import fetch, furniture3d
from isthmus.data.furniture3d import groups
from isthmus.data.mesh import read_surface, render, sample
from tests import require

FETCHED = fetch.folder("furniture3d")  # the user's; the tests themselves run with a cache of their own
BED = "Scopia#bed1"

# a box of 2 × 1 × 1, its two ends red, the rest blue
CORNERS = "\n".join(f"v {x} {y} {z}" for x in (-1, 1) for y in (0, 1) for z in (0, 1))
BOX = f"""mtllib box.mtl
{CORNERS}
usemtl red
f 1 2 4 3
f 5 7 8 6
usemtl blue
f 1 5 6 2
f 3 4 8 7
f 1 3 7 5
f 2 6 8 4
"""
PAINT = "newmtl red\nKd 1 0 0\nnewmtl blue\nKd 0 0 1\n"
TEXTURED = """mtllib t.mtl
v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0
vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1
usemtl t
f 1/1 2/2 3/3 4/4
"""
ENGLISH = """# a catalogue
license=CC0 \xa9 Ann
id#1=Ann#box
name#1=Box 2
tags#1=thing, cube
category#1=Kitchen
icon#1=/ann/box.png
model#1=/ann/box/box.obj
width#1=20
creator#1=Ann
id#2=Ann#big box
name#2=Big box
category#2=Kitchen
icon#2=/ann/box.png
model#2=/ann/none/none.obj
modelRotation#2=0 -1 0 1 0 0 0 0 1
"""
CHINESE = "name#1=\\u76d2\\u5b50\nname#2=\n"


def png(*colours):
    file = io.BytesIO()
    picture = Image.new("RGB", (len(colours), 1))
    picture.putdata(colours)
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def made(tmp_path):
    """A make-believe catalogue of a box, and of a model whose files are not there."""
    require.module("trimesh", "mesh")
    (tmp_path / furniture3d.PACKAGE).mkdir()
    with zipfile.ZipFile(tmp_path / furniture3d.PACKAGE / "Ann.sh3f", "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", ENGLISH.encode("latin-1"))
        archive.writestr("PluginFurnitureCatalog_zh_TW.properties", CHINESE)
        archive.writestr("ann/box.png", png((9, 9, 9)))
        archive.writestr("ann/box/box.obj", BOX)
        archive.writestr("ann/box/box.mtl", PAINT)
    return tmp_path


@pytest.fixture(scope="module")
def furniture():
    require.module("trimesh", "mesh")
    return furniture3d.load(folder=require.path(FETCHED, "isthmus data fetch furniture3d"))


def test_a_made_catalogue(made):
    found = furniture3d.load(folder=made, views=(30,), points=50, size=32)
    records = {r.id: r for r in found.records}
    assert list(records) == [
        *(f"Ann#box|{of}" for of in ("points|", "image|icon", "image|view-30", "text|en", "text|zh-Hant")),
        *(f"Ann#big box|{of}" for of in ("points|", "image|icon", "image|view-30", "text|en")),
    ]
    assert records["Ann#box|text|zh-Hant"].text == "盒子"
    box = records["Ann#box|points|"]
    assert box.meta == {
        "name": "Box 2",
        "tags": "thing, cube",
        "category": "Kitchen",
        "creator": "Ann",
        "size": "20 × ? × ?",
    }
    assert box.load().shape == (50, 9)
    assert np.array_equal(box.load(), box.load())
    assert {r.group for r in found.records} == {"Ann#box"}
    assert records["Ann#box|image|icon"].load().getpixel((0, 0)) == (9, 9, 9)
    assert len({r.digest() for r in found.records if r.modality != "text" and r.key == "Ann#box"}) == 3
    other = furniture3d.load(folder=made, points=51).of("points")[0]
    assert other.digest() != box.digest(), "how many points is part of the content"
    with pytest.raises(BadInput, match=r"Ann\.sh3f: Ann#big box: 'none\.obj'"):
        records["Ann#big box|points|"].load()
    root = found.root
    assert data.open_uri("furniture3d:Ann#box@30", root).size == (224, 224)
    assert data.open_uri("furniture3d:Ann#box", root).getpixel((0, 0)) == (9, 9, 9)
    for rest in ("Ann#none", "Ann#box@x", "Ann#box@-1"):
        with pytest.raises(NotFound, match="there is no model"):
            data.open_uri(f"furniture3d:{rest}", root)


def test_points():
    require.module("trimesh", "mesh")
    surface = read_surface(BOX.encode(), {"box.mtl": PAINT.encode()})
    cloud = sample(surface, 20_000, seed=0)
    place, colour, normal = cloud[:, :3], cloud[:, 3:6], cloud[:, 6:]
    assert cloud.dtype == np.float32
    assert np.abs(np.linalg.norm(surface.corners, axis=-1).max() - 1) < 1e-6, "the unit sphere"
    half = place.max(0)
    assert np.allclose(half, -place.min(0), atol=1e-5), "centred"
    assert np.allclose(half / half[1], [2, 1, 1], atol=1e-3)
    assert np.allclose(np.abs(normal).max(1), 1)
    assert np.allclose(np.abs((place * normal).sum(1)), (half * np.abs(normal)).sum(1), atol=1e-5), "on the faces"
    end = np.abs(normal[:, 0]) > 0.5
    assert np.array_equal(colour[end], np.broadcast_to([1, 0, 0], (end.sum(), 3)))
    assert np.array_equal(colour[~end], np.broadcast_to([0, 0, 1], ((~end).sum(), 3)))
    assert abs(end.mean() - 2 / 10) < 0.01, "by area: two faces of 1 of four of 2"
    assert np.array_equal(cloud, sample(surface, 20_000, seed=0))
    assert not np.array_equal(cloud, sample(surface, 20_000, seed=1))


def test_textures():
    require.module("trimesh", "mesh")
    files = {"t.mtl": b"newmtl t\nKd 1 1 1\nmap_Kd t.png\n", "t.png": png((255, 0, 0), (0, 255, 0))}
    cloud = sample(read_surface(TEXTURED.encode(), files), 500, seed=0)
    left = cloud[:, 0] < 0
    assert np.array_equal(cloud[left, 3:6], np.broadcast_to([1, 0, 0], (left.sum(), 3)))
    assert np.array_equal(cloud[~left, 3:6], np.broadcast_to([0, 1, 0], ((~left).sum(), 3)))


def test_a_rotation_turns_the_model():
    require.module("trimesh", "mesh")
    upright = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    corners = read_surface(BOX.encode(), {}, upright).corners.reshape(-1, 3)
    assert np.allclose(corners.max(0) / corners.max(0)[0], [1, 2, 1], atol=1e-5)


def test_views():
    require.module("trimesh", "mesh")
    surface = read_surface(BOX.encode(), {"box.mtl": PAINT.encode()})
    front = np.asarray(render(surface, azimuth=0, elevation=0, size=40)).astype(int)
    end = np.asarray(render(surface, azimuth=90, elevation=0, size=40)).astype(int)
    assert front[20, 20, 2] > 100 > front[20, 20, 0], "blue in front"
    assert end[20, 20, 0] > 100 > end[20, 20, 2], "red at the end"
    assert (front[0, 0] == 255).all()
    wide, narrow = ((picture[20] < 250).any(-1).sum() for picture in (front, end))
    assert abs(wide / narrow - 2) < 0.2
    assert np.array_equal(front, np.asarray(render(surface, azimuth=0, elevation=0, size=40)))


@pytest.mark.parametrize(
    ("names", "together"),
    [
        (("Chair", "chair 2"), True),
        (("Left door", "Door (right)"), True),
        (("Chair", "Armchair"), False),
        (("Open", "Closed"), False),
    ],
)
def test_groups(names, together):
    assert (len(set(groups(dict(enumerate(names))).values())) == 1) is together


def test_what_is_no_model(tmp_path, monkeypatch):
    require.module("trimesh", "mesh")
    for content in (b"", b"hello", b"v 0 0 0\n", b"v 0 0 0\nf 1 2 3\n"):
        with pytest.raises(BadInput, match="the model"):
            read_surface(content, {})
    with pytest.raises(BadInput, match="no area"):
        sample(read_surface(b"v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n", {}), 5, seed=0)
    (tmp_path / furniture3d.PACKAGE).mkdir()
    (tmp_path / furniture3d.PACKAGE / "x.sh3f").write_bytes(b"no")
    with pytest.raises(BadInput, match=r"x\.sh3f: the catalogue cannot be read"):
        furniture3d.load(folder=tmp_path)
    with pytest.raises(BadInput, match="at least 1"):
        furniture3d.load(points=0)
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path))
    with pytest.raises(NotFound, match="has not been fetched yet: isthmus data fetch furniture3d"):
        data.load("furniture3d")
    monkeypatch.setitem(__import__("sys").modules, "trimesh", None)
    with pytest.raises(MissingExtra, match=r"pip install 'isthmus\[mesh\]'"):
        read_surface(b"", {})


def test_counts_are_those_of_the_card(furniture):
    of = Counter((r.modality, r.variant.partition("-")[0]) for r in furniture.records if r.modality != "text")
    names = furniture.of("text")
    models = furniture.of("points")
    sizes = Counter(r.group for r in models)
    several = [n for n in sizes.values() if n > 1]
    assert furniture.card.counts == (
        f"{len(models)} models ({len(models)} clouds of points, {of['image', 'icon']} icons, {of['image', 'view']:,} "
        f"views), {len(names):,} names in {len({r.variant for r in names})} languages, "
        f"{len({r.meta['category'] for r in models})} categories; {len(sizes)} near-duplicate groups, "
        f"{len(several)} of them of several models ({sum(several)} models)"
    )
    assert furniture.modalities == list(furniture.card.modalities)


def test_one_model(furniture):
    records = {r.id: r for r in furniture.records if r.key == BED}
    assert records[f"{BED}|text|en"].text == "Bed"
    assert records[f"{BED}|text|de"].text == "Bett"
    assert records[f"{BED}|points|"].meta["category"] == "Bedroom"
    cloud = records[f"{BED}|points|"].load()
    assert cloud.shape == (10_000, 9)
    assert np.isfinite(cloud).all()
    views = [np.asarray(records[f"{BED}|image|{v}"].load()) for v in ("icon", "view-30", "view-210")]
    assert all(view.std() > 10 for view in views)
    assert not np.array_equal(views[1], views[2])
