import random
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from isthmus.core.errors import BadInput, NotFound
from isthmus.data import world
from isthmus.data.world.renderers import renderer
from isthmus.data.world.scene import INVERSE, MAX_OBJECTS, Figure, Object, Scene

SPHERE = Object("sphere", "red", "small", "metal", 0.0, 0.0)


def test_a_scene_is_the_same_alone_in_a_stream_and_in_any_order():
    stream = list(world.scenes(3, 40))
    order = list(range(40))
    random.Random(0).shuffle(order)
    assert {i: world.sample(3, i) for i in order} == dict(enumerate(stream))
    assert list(world.scenes(3, 5, start=20)) == stream[20:25]
    assert len(set(stream)) == 40 and world.sample(4, 0) != stream[0]


def test_relations_are_mutual_and_exclusive():
    for scene in world.scenes(0, 200):
        found = {(r.subject, r.object): r.name for r in scene.relations}
        assert len(found) == len(scene.relations), "no two relations between the same two"
        assert all(found[j, i] == INVERSE[name] for (i, j), name in found.items())
        for (i, j), name in found.items():
            one, other = scene.entities[i], scene.entities[j]
            if name == "left of":
                assert one.x < other.x
            if name == "behind":
                assert one.y > other.y
            if name == "on":
                assert one.z == pytest.approx(other.z + other.height)


def test_the_largest_scenes_have_room():
    full = world.Knobs(min_objects=MAX_OBJECTS, max_objects=MAX_OBJECTS, person=1.0)
    assert all(len(scene.objects) == MAX_OBJECTS and scene.figure for scene in world.scenes(0, 300, knobs=full))


def test_memory_stays_flat_when_streamed():
    def peak(n):
        tracemalloc.reset_peak()
        for item in world.stream(0, n, renderers=("picture", "caption", "mask"), start=50):
            assert len(item.values) == 3
        return tracemalloc.get_traced_memory()[1]

    for _ in world.stream(0, 50, renderers=("picture", "caption", "mask")):
        pass  # fill the caches
    tracemalloc.start()
    few = peak(20)
    many = peak(200)
    tracemalloc.stop()
    assert many < 1.2 * few + 200_000


@pytest.mark.parametrize(
    ("objects", "figure", "message"),
    [
        ((replace(SPHERE),) * 9, None, "9 objects are too many, 8 have room"),
        ((), None, "needs an object or a person"),
        ((replace(SPHERE, x=5.0),), None, r"outside the ground: y must be .* x there at most"),
        ((SPHERE, replace(SPHERE, x=0.3)), None, "entities 0 and 1 are in one place"),
        ((SPHERE, replace(SPHERE, z=2.0)), None, "object 1 hangs in the air at z = 2.00; let it stand on a cube"),
        ((SPHERE,), Figure("waving", "red", "skirt", "red", "none", "red", 0.1, 0.1), "in one place"),
    ],
)
def test_scenes_that_cannot_be(objects, figure, message):
    with pytest.raises(BadInput, match=message):
        Scene(0, 0, objects, figure)


def test_words_that_are_not_known():
    with pytest.raises(NotFound, match="unknown shape 'cub'; did you mean 'cube'"):
        Object("cub", "red", "small", "metal", 0, 0)
    with pytest.raises(NotFound, match="unknown pose 'wavng'; did you mean 'waving'"):
        Figure("wavng", "red", "skirt", "red", "none", "red", 0, 0)
    with pytest.raises(NotFound, match="unknown caption fault"):
        Scene(0, 0, (SPHERE,), fault="typo")
    with pytest.raises(BadInput, match="both must be 0 or more"):
        world.sample(0, -1)


def test_the_stream_is_checked_before_it_begins():
    with pytest.raises(NotFound, match="unknown renderer 'pictur'; did you mean 'picture'"):
        world.stream(0, 3, renderers=("pictur",))
    with pytest.raises(BadInput, match="options for mask, but the renderers are picture"):
        world.stream(0, 3, renderers=("picture",), options={"mask": {"size": 32}})
    sizes = {item.values["picture"].shape for item in world.stream(0, 3, options={"picture": {"size": 32}})}
    assert sizes == {(32, 32, 3)}


def test_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()
    for name in world.names():
        world.render(name, world.sample(0, 1))
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize(("names", "least"), [(("picture", "caption", "mask"), 300), (None, 60)])
def test_drawing_is_quick(names, least):
    """A third of what benchmarks/world.py measures as the target, in processor time: a guard, not the measurement."""
    flat = [name for name in world.names() if renderer(name).KIND == "pixels"]
    best = 0.0
    for seed in range(3):
        started = time.process_time()
        for _ in world.stream(seed, 60, renderers=names or flat):
            pass
        best = max(best, 60 / (time.process_time() - started))
    assert best > least / 3
