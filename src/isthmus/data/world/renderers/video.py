"""A short film in which one thing moves, and then perhaps another, with what happens in words."""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from isthmus.core.errors import BadInput
from isthmus.data.world.geometry import CAMERA, Camera
from isthmus.data.world.grammar import noun_phrase
from isthmus.data.world.reference import unique
from isthmus.data.world.renderers import picture
from isthmus.data.world.scene import Object, Scene
from isthmus.data.world.words import known

__all__ = ["KIND", "MOVES", "TITLE", "Event", "Video", "render", "scenes", "show", "story_of", "words"]

TITLE, KIND = "video", "frames"
MOVES = ("slides left", "slides right", "comes closer", "moves away", "hops", "turns")
STEP = {"slides left": (-0.9, 0.0), "slides right": (0.9, 0.0), "comes closer": (0.0, -0.9), "moves away": (0.0, 0.9)}
ROUND = frozenset({"sphere", "cylinder", "cone", "capsule"})
"""Shapes that look the same when they turn."""
VERB = {
    "en": dict(zip(MOVES, MOVES, strict=True)),
    "fr": dict(
        zip(
            MOVES,
            ("glisse vers la gauche", "glisse vers la droite", "s'approche", "s'éloigne", "saute", "tourne"),
            strict=True,
        )
    ),
    "de": dict(
        zip(
            MOVES,
            ("gleitet nach links", "gleitet nach rechts", "kommt näher", "entfernt sich", "hüpft", "dreht sich"),
            strict=True,
        )
    ),
}
THEN = {"en": "then", "fr": "puis", "de": "dann"}


@dataclass(frozen=True)
class Event:
    """Object `entity` makes a `move` from frame `start` until before frame `end`."""

    entity: int
    move: str
    start: int
    end: int


@dataclass(frozen=True)
class Video:
    """The frames, what happens in them, and that in words by language (``en``, ``fr``, ``de``)."""

    frames: UInt8[np.ndarray, "t h w 3"]
    events: tuple[Event, ...]
    texts: dict[str, str]


def render(scene: Scene, *, size: int = 64, frames: int = 8, camera: Camera = CAMERA) -> Video:
    """Return a film of a scene. Where nothing has room to move, nothing happens, and `events` is empty."""
    if frames < 2:
        raise BadInput(f"frames = {frames}; a film needs at least 2")
    events = plan(scene, frames)
    shots = np.stack([picture.render(s, size=size, camera=camera) for s in scenes(scene, events, frames)])
    return Video(shots, events, {language: story_of(scene, events, language) for language in VERB})


def plan(scene: Scene, frames: int) -> tuple[Event, ...]:
    """Draw what happens: one event, or with even chance two of different objects, one after the other."""
    rng = scene.generator("video")
    wanted = 1 + int(rng.random() < 0.5 and frames >= 4)
    span = frames // wanted
    events: list[Event] = []
    for i in rng.permutation(len(scene.objects)).tolist():
        for k in rng.permutation(len(MOVES)).tolist():
            event = Event(i, MOVES[k], len(events) * span, (len(events) + 1) * span)
            if _possible(scene, (*events, event), frames):
                events.append(event)
                break
        if len(events) == wanted:
            break
    if events:
        events[-1] = replace(events[-1], end=frames)
    return tuple(events)


def scenes(scene: Scene, events: tuple[Event, ...], frames: int) -> list[Scene]:
    """Return the scene at every frame: objects that have moved stay where they came to."""
    shots = []
    for t in range(frames):
        objects = list(scene.objects)
        for event in events:
            done = min(max((t - event.start) / max(event.end - 1 - event.start, 1), 0.0), 1.0)
            objects[event.entity] = _moved(objects[event.entity], event.move, done)
        shots.append(replace(scene, objects=tuple(objects)))
    return shots


def story_of(scene: Scene, events: tuple[Event, ...], language: str) -> str:
    """Return what happens as a sentence; empty where nothing does."""
    said: list[str] = []
    for event in events:
        name = unique(scene, event.entity)
        phrase = noun_phrase(name, language, definite=True) if name else ""
        verb = VERB[known(language)][event.move]
        if language == "de" and said:  # after ``dann`` the verb comes first
            first, _, rest = verb.partition(" ")
            if rest.startswith("sich"):
                first, rest = f"{first} sich", rest[5:]
            said.append(f"{first} {phrase} {rest}".strip())
        else:
            said.append(f"{phrase} {verb}")
    text = f", {THEN[language]} ".join(said)
    return f"{text[:1].upper()}{text[1:]}." if said else ""


def show(scene: Scene, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return first, two middle and last frames in a square."""
    a, b, c, d = render(scene, size=size // 2, frames=8).frames[[0, 2, 5, 7]]
    return np.concatenate([np.concatenate([a, b], 1), np.concatenate([c, d], 1)], 0)


def _moved(one: Object, move: str, done: float) -> Object:
    if move == "hops":
        return replace(one, z=one.z + 1.1 * math.sin(math.pi * done))
    if move == "turns":
        return replace(one, yaw=one.yaw + math.pi / 2 * 0.8 * done)
    dx, dy = STEP[move]
    return replace(one, x=one.x + dx * done, y=one.y + dy * done)


def _possible(scene: Scene, events: tuple[Event, ...], frames: int) -> bool:
    """Whether the thing can be named, the move can be seen, and nothing is in its way."""
    event = events[-1]
    one = scene.objects[event.entity]
    if unique(scene, event.entity) is None or (event.move == "turns" and one.shape in ROUND):
        return False
    if event.move in STEP and (
        one.z > 0 or any(r.name == "under" and r.subject == event.entity for r in scene.relations)
    ):
        return False
    try:
        scenes(scene, events, frames)
    except BadInput:
        return False
    return True


def words(scene: Scene) -> str:
    """Return what happens, in three languages."""
    return "\n".join(render(scene, size=16).texts.values())
