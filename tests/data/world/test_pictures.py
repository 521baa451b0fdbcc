import os
import subprocess
import sys

import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.data import world
from isthmus.data.world.figure import JOINTS, joints
from isthmus.data.world.geometry import CAMERA, FAR, Camera, trace
from isthmus.data.world.renderers import mask, thermal, views
from isthmus.data.world.scene import POSES, SHAPES, Figure, Object, Scene
from isthmus.data.world.shapes import face, meet

RICH = world.Knobs(person=0.5, twins=0.2, stacked=1.0)
SCENES = list(world.scenes(2, 30, knobs=RICH))


def distance(shape, p):
    """How far outside a shape a point is, from its definition: nothing of the ray casting is used."""
    x, y, z = p
    if shape == "sphere":
        return np.linalg.norm(p) - 1
    if shape == "cube":
        return max(abs(x), abs(y), abs(z)) - 0.78
    if shape == "cylinder":
        return max(np.hypot(x, y) - 0.78, abs(z) - 0.85)
    if shape == "cone":
        return max(np.hypot(x, y) - 0.88 * (0.95 - z) / 1.9, -z - 0.95)
    if shape == "pyramid":
        return max(max(abs(x), abs(y)) - 0.85 * (0.8 - z) / 1.6, -z - 0.8)
    if shape == "ring":
        return np.hypot(np.hypot(x, z) - 0.72, y) - 0.28
    if shape == "diamond":
        waist = max(x * np.cos(a) + y * np.sin(a) for a in np.arange(6) * np.pi / 3)
        return waist - (0.8 * (1.05 - z) / 0.8 if z > 0.25 else 0.8 * (1.05 + z) / 1.3)
    if shape == "cross":
        return min(max(abs(x) - 0.33, abs(y) - 0.33, abs(z) - 0.95), max(abs(x) - 0.95, abs(y) - 0.33, abs(z) - 0.33))
    if shape == "capsule":
        return np.linalg.norm((x, y, z - np.clip(z, -0.48, 0.48))) - 0.62
    raise AssertionError(shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_oracle_of_rays(shape):
    """Rays stop where small steps along them first find themselves inside, and normals are the slope there."""
    rng = np.random.default_rng(0)
    eyes = rng.normal(size=(40, 3))
    eyes = 4 * eyes / np.linalg.norm(eyes, axis=1, keepdims=True)
    aims = rng.uniform(-0.7, 0.7, (40, 3))
    d = (aims - eyes).astype(np.float32)
    o = eyes.astype(np.float32)
    found = meet(shape, tuple(o.T), tuple(d.T))
    hits = 0
    for i in range(40):
        steps = np.linspace(0, 2, 2001)
        inside = [distance(shape, o[i] + t * d[i]) < 0 for t in steps]
        if any(inside):
            first = steps[int(np.argmax(inside))]
            if sum(inside) > 15:  # rays that only graze are left to the tolerance
                assert found[i] == pytest.approx(first, abs=4e-3), i
                hits += 1
                p = o[i] + found[i] * d[i]
                slope = [(distance(shape, p + h) - distance(shape, p - h)) / 2e-3 for h in 1e-3 * np.eye(3)]
                slope = np.array(slope) / np.linalg.norm(slope)
                n = face(shape, p[:, None].astype(np.float32))[:, 0]
                assert np.linalg.norm(n) == pytest.approx(1, abs=2e-2)
                assert (n @ slope > 0.97) or near_an_edge(shape, p), (i, n, slope)
        else:
            assert not np.isfinite(found[i]) or abs(distance(shape, o[i] + found[i] * d[i])) < 4e-3
    assert hits > 12


def near_an_edge(shape, p):
    """Whether normals change within a small step."""
    around = np.stack([p + h for h in 0.02 * np.vstack([np.eye(3), -np.eye(3)])]).astype(np.float32)
    normals = face(shape, around.T)
    return (normals.T @ normals).min() < 0.9


@pytest.mark.parametrize("name", world.names())
def test_every_renderer(name):
    """The same scene gives the same bytes, and another one others; the sheet can show it."""
    from isthmus.data.world.renderers import renderer

    assert renderer(name).KIND in ("pixels", "text", "graph", "points", "frames", "sound") and renderer(name).TITLE
    one, other = SCENES[0], next(s for s in SCENES if s.figure is not None)
    first = repr_of(world.render(name, one))
    trace.cache_clear()
    assert repr_of(world.render(name, one)) == first
    assert repr_of(world.render(name, other)) != first
    tile = renderer(name).show(other, 96)
    assert isinstance(tile, str) or (tile.dtype == np.uint8 and tile.shape == (96, 96, 3))
    with pytest.raises(BadInput, match=f"renderer {name}: .*unexpected keyword"):
        world.render(name, one, colour_blind=True)


def test_the_same_bytes_in_another_process():
    """Neither the order of hashes nor what was drawn before plays a part."""
    code = (
        "import hashlib; from isthmus.data import world; from tests.data.world.test_pictures import repr_of;"
        "h = hashlib.sha256();"
        "drawn = (repr_of(world.render(n, s)) for s in world.scenes(5, 3) for n in world.names());"
        "[h.update(repr(d).encode()) for d in drawn];"
        "print(h.hexdigest())"
    )
    found = set()
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 0, done.stderr
        found.add(done.stdout.strip())
    assert len(found) == 1


def repr_of(value):
    """Bytes and all that a value consists of."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {k: repr_of(v) for k, v in value.items()}
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, Scene):
        return {k: repr_of(getattr(value, k)) for k in value.__dataclass_fields__}
    return repr(value)


def test_a_new_renderer_is_one_file(tmp_path, monkeypatch):
    from isthmus.data.world import renderers

    (tmp_path / "count.py").write_text("TITLE, KIND = 'count', 'text'\ndef render(scene): return len(scene.objects)\n")
    monkeypatch.setattr(renderers, "__path__", [*renderers.__path__, str(tmp_path)])
    for cached in (renderers.names, renderers.renderer):
        cached.cache_clear()
    try:
        assert "count" in world.names() and world.render("count", SCENES[0]) == len(SCENES[0].objects)
    finally:
        for cached in (renderers.names, renderers.renderer):
            cached.cache_clear()


@pytest.mark.parametrize("name", ["picture", "night", "mask", "depth", "normals", "edges", "sketch", "thermal"])
@pytest.mark.parametrize("size", [16, 64, 97])
def test_sizes(name, size):
    assert world.render(name, SCENES[0], size=size).shape[:2] == (size, size)


@pytest.mark.parametrize("size", [0, 15, 5000])
def test_sizes_that_cannot_be(size):
    with pytest.raises(BadInput, match=f"a picture of {size} pixels a side cannot be drawn; 16 to 1024 can"):
        world.render("picture", SCENES[0], size=size)


def test_mask_boxes_depth_and_edges_agree():
    for scene in SCENES:
        entity, depth = world.render("mask", scene), world.render("depth", scene)
        boxes, edges = world.render("boxes", scene), world.render("edges", scene)
        normals = world.render("normals", scene)
        assert np.abs(np.linalg.norm(normals, axis=2) - 1).max() < 5e-3
        assert (depth > 0).all() and (depth[entity > 0] < FAR).all()
        for i in range(len(scene.entities)):
            mine = entity == i + 1
            assert boxes.pixels[i] == mine.sum()
            if mine.any():
                left, top, right, bottom = boxes.boxes[i].astype(int)
                assert mine[top:bottom, left:right].sum() == mine.sum()
                assert mine[top].any() and mine[bottom - 1].any() and mine[:, left].any() and mine[:, right - 1].any()
            else:
                assert np.isnan(boxes.boxes[i]).all()
        across = entity[:, :-1] != entity[:, 1:]
        assert edges[:, :-1][across].all(), "every border of the mask is an edge"
        shapes = world.render("mask", scene, by="shape")
        assert set(np.unique(shapes)) <= {0, *(mask.NAMES.index(getattr(o, "shape", "person")) for o in scene.entities)}


def test_almost_everything_is_seen():
    seen = [n > 8 for scene in world.scenes(9, 200) for n in world.render("boxes", scene).pixels]
    assert np.mean(seen) > 0.99


def test_relations_are_seen_in_the_picture():
    for scene in SCENES:
        boxes = world.render("boxes", scene, size=128).boxes
        for r in scene.relations:
            a, b = boxes[r.subject], boxes[r.object]
            if np.isfinite(a).all() and np.isfinite(b).all() and r.name == "left of":
                assert a[0] + a[2] < b[0] + b[2]
            if r.name == "on" and np.isfinite(a).all() and np.isfinite(b).all():
                assert a[1] < b[1]


def test_the_picture_shows_the_colours():
    """An even patch in the middle of a rubber ball has the hue of its paint."""
    import colorsys

    from isthmus.data.world.shading import PALETTE

    for colour, rgb in PALETTE.items():
        scene = Scene(0, 0, (Object("sphere", colour, "large", "rubber", 0.0, 0.0),))
        mine = world.render("mask", scene) == 1
        r, g, b = world.render("picture", scene)[mine].mean(0) / 255
        if colour != "grey":
            wanted, seen = colorsys.rgb_to_hsv(*rgb)[0], colorsys.rgb_to_hsv(r, g, b)[0]
            assert min(abs(wanted - seen), 1 - abs(wanted - seen)) < 0.05, colour


def test_glass_shows_what_is_behind_it():
    glass = Object("sphere", "grey", "large", "glass", 0.0, -1.4)
    behind = [Object("cube", colour, "large", "rubber", 0.0, 1.2) for colour in ("red", "blue")]
    red, blue = (Scene(0, 0, (glass, cube)) for cube in behind)
    mine = world.render("mask", red) == 1
    assert (mine == (world.render("mask", blue) == 1)).all()
    r, b = (world.render("picture", s)[mine].astype(int) for s in (red, blue))
    assert (r[:, 0] - b[:, 0]).max() > 25 and (b[:, 2] - r[:, 2]).max() > 25


def test_points_lie_on_surfaces():
    scene = next(s for s in SCENES if s.figure is not None)
    cloud = world.render("points", scene, points=2000)
    assert cloud.shape == (2000, 9) and cloud.dtype == np.float32
    assert np.linalg.norm(cloud[:, 6:], axis=1) == pytest.approx(1, abs=1e-2)
    for i, one in enumerate(scene.objects):
        from isthmus.data.world.scene import HALF_HEIGHT

        mine = world.render("points", scene, points=300, entity=i)[:, :3]
        c, s = np.cos(one.yaw), np.sin(one.yaw)
        local = (mine - (one.x, one.y, one.z + one.radius * HALF_HEIGHT[one.shape])) / one.radius
        local = local @ np.array([(c, -s, 0), (s, c, 0), (0, 0, 1)])
        assert max(abs(distance(one.shape, p)) for p in local) < 5e-3
        assert np.abs(local.mean(0)[:2]).max() < 0.25, "from all sides"
    with pytest.raises(BadInput, match="entity = 99"):
        world.render("points", scene, entity=99)
    with pytest.raises(BadInput, match="points = 0"):
        world.render("points", scene, points=0)


def test_the_same_point_in_two_views():
    for scene in SCENES[:5]:
        same, seen = views.correspondences(scene, CAMERA, CAMERA)
        centres = np.stack(np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5), -1)
        assert np.abs(same - centres)[seen].max() < 1e-2 and seen.mean() > 0.6
        other = CAMERA.around(25)
        there, seen = views.correspondences(scene, CAMERA, other)
        assert 0.1 < seen.mean() < 1
        # back again: where the point of the other view lies is where it came from
        back, _ = views.correspondences(scene, other, CAMERA)
        at = there[seen].astype(int)
        error = np.linalg.norm(back[at[:, 1], at[:, 0]] - centres[seen], axis=1)
        assert np.median(error) < 1.5
    assert CAMERA.around(360).eye == pytest.approx(CAMERA.eye)
    with pytest.raises(BadInput, match="name at least one angle"):
        world.render("views", SCENES[0], degrees=())
    with pytest.raises(BadInput, match="stands inside the scene"):
        world.render("picture", SCENES[0], camera=Camera(eye=(SCENES[0].objects[0].x, SCENES[0].objects[0].y, 0.3)))


@pytest.mark.parametrize("pose", POSES)
def test_the_person(pose):
    scene = Scene(0, 0, (), Figure(pose, "red", "trousers", "blue", "hat", "green", 0.0, 0.0))
    found = world.render("skeleton", scene, size=128)
    entity = world.render("mask", scene, size=128)
    assert found.seen.sum() >= 13
    for (x, y), seen, name in zip(found.pixels, found.seen, JOINTS, strict=True):
        if seen:
            rows, columns = np.nonzero(entity)
            assert np.hypot(rows + 0.5 - y, columns + 0.5 - x).min() < 4, name
    at = dict(zip(JOINTS, joints(scene.figure), strict=True))
    assert at["left hip"][0] > at["right hip"][0], "it faces the viewer"
    limb = [np.linalg.norm(at[f"{s} shoulder"] - at[f"{s} elbow"]) for s in ("left", "right")]
    assert all(0.2 < length < 0.45 for length in limb)
    assert world.render("skeleton", Scene(0, 0, (Object("cube", "red", "small", "wood", 0, 0),))) is None


def test_heat():
    scene = Scene(
        0,
        0,
        (Object("cube", "red", "small", "metal", -1.5, 0), Object("cube", "red", "small", "rubber", 1.5, 0)),
        Figure("standing", "red", "shorts", "red", "none", "red", 0.0, 0.5),
    )
    heat, entity = world.render("thermal", scene), world.render("mask", scene)
    metal, rubber, person = (heat[entity == i].mean() for i in (1, 2, 3))
    assert metal < thermal.GROUND < rubber < person < 36


def test_film():
    moved = 0
    for scene in SCENES[:12]:
        film = world.render("video", scene, size=32, frames=6)
        assert film.frames.shape == (6, 32, 32, 3) and (film.frames[0] == world.render("picture", scene, size=32)).all()
        assert bool(film.events) == bool(film.texts["en"])
        for event in film.events:
            moved += 1
            assert (film.frames[event.start] != film.frames[event.end - 1]).any() or event.move == "hops"
    assert moved > 8
    with pytest.raises(BadInput, match="frames = 1"):
        world.render("video", SCENES[0], frames=1)


def test_sounds_tell_things_apart():
    def spectrum(**changes):
        one = Object(
            **({"shape": "cube", "colour": "red", "size": "small", "material": "metal", "x": 0, "y": 0} | changes)
        )
        sound = world.render("sound", Scene(0, 0, (one,)))
        assert sound["sampling_rate"] == 16_000 and np.abs(sound["array"]).max() <= 1
        power = np.abs(np.fft.rfft(sound["array"]))
        return power / np.linalg.norm(power), sound["array"]

    plain, wave = spectrum()
    for change in ({"shape": "ring"}, {"size": "large"}, {"material": "wood"}):
        assert plain @ spectrum(**change)[0] < 0.7, change
    assert plain @ spectrum(colour="orange")[0] < 0.999
    dull = spectrum(material="rubber")[1]
    assert np.abs(wave[4000:]).sum() > 5 * np.abs(dull[4000:]).sum(), "metal rings on"
    scene = SCENES[0]
    order = [scene.entities[s.entity].x for s in world.renderers.sound.strikes(scene)]
    assert order == sorted(order)
    with pytest.raises(BadInput, match="rate = 100"):
        world.render("sound", scene, rate=100)
