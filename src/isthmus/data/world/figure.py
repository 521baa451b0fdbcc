"""The person: where its joints are in each pose, and the capsules that its body is made of."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32

from isthmus.data.world.scene import Figure

__all__ = ["BONES", "HAIRS", "JOINTS", "SKINS", "Limbs", "joints", "limbs"]

JOINTS = (
    "head",
    "neck",
    "pelvis",
    "left shoulder",
    "right shoulder",
    "left elbow",
    "right elbow",
    "left wrist",
    "right wrist",
    "left hip",
    "right hip",
    "left knee",
    "right knee",
    "left ankle",
    "right ankle",
)
"""Left and right are the person's own."""
BONES = (
    ("head", "neck"),
    ("neck", "pelvis"),
    *(
        (f"{side} {a}" if a != "neck" and a != "pelvis" else a, f"{side} {b}")
        for side in ("left", "right")
        for a, b in (
            ("neck", "shoulder"),
            ("shoulder", "elbow"),
            ("elbow", "wrist"),
            ("pelvis", "hip"),
            ("hip", "knee"),
            ("knee", "ankle"),
        )
    ),
)
SKINS = ((0.94, 0.76, 0.63), (0.80, 0.58, 0.42), (0.55, 0.37, 0.26), (0.36, 0.24, 0.18))
HAIRS = ((0.16, 0.12, 0.10), (0.40, 0.26, 0.16), (0.80, 0.62, 0.36), (0.55, 0.55, 0.56))

# The person looks along -y, so its left hand has a positive x. The right side mirrors the left unless a pose says so.
FOLDS, BARS = 12, 12
"""Capsules that make up a skirt, and the brim of a hat."""

REST: dict[str, tuple[float, float, float]] = {
    "head": (0, 0, 1.98),
    "neck": (0, 0, 1.68),
    "pelvis": (0, 0, 1.02),
    "shoulder": (0.29, 0, 1.58),
    "elbow": (0.40, 0.02, 1.24),
    "wrist": (0.43, -0.07, 0.93),
    "hip": (0.13, 0, 1.00),
    "knee": (0.15, -0.02, 0.54),
    "ankle": (0.16, 0, 0.10),
}
POSED: dict[str, dict[str, tuple[float, float, float]]] = {
    "standing": {},
    "waving": {"left elbow": (0.60, 0, 1.56), "left wrist": (0.66, -0.05, 1.93)},
    "cheering": {
        "left elbow": (0.52, 0, 1.83),
        "left wrist": (0.50, 0, 2.18),
        "right elbow": (-0.52, 0, 1.83),
        "right wrist": (-0.50, 0, 2.18),
    },
    "walking": {
        "left knee": (0.14, -0.27, 0.58),
        "left ankle": (0.15, -0.33, 0.12),
        "right knee": (-0.14, 0.10, 0.56),
        "right ankle": (-0.15, 0.42, 0.20),
        "left elbow": (0.38, 0.20, 1.27),
        "left wrist": (0.40, 0.14, 0.95),
        "right elbow": (-0.38, -0.16, 1.26),
        "right wrist": (-0.38, -0.42, 1.07),
    },
    "pointing": {"left elbow": (0.64, -0.03, 1.56), "left wrist": (0.98, -0.06, 1.55)},
    "sitting": {
        "left knee": (0.24, -0.34, 1.08),
        "left ankle": (0.30, -0.62, 0.72),
        "right knee": (-0.24, -0.34, 1.08),
        "right ankle": (-0.30, -0.62, 0.72),
        "left wrist": (0.30, -0.34, 1.14),
        "right wrist": (-0.30, -0.34, 1.14),
    },
}
SINK = {"sitting": 0.62}
"""How much lower everything is: who sits, sits on the ground."""


@dataclass(frozen=True)
class Limbs:
    """The k capsules of a person, from `a` to `b`, each with its radius and the name of what covers it."""

    a: Float32[np.ndarray, "k 3"]
    b: Float32[np.ndarray, "k 3"]
    r: Float32[np.ndarray, " k"]
    cover: tuple[str, ...]


def joints(figure: Figure) -> Float32[np.ndarray, "15 3"]:
    """Return where the joints are in the scene, in the order of `JOINTS`."""
    posed = POSED[figure.pose]
    places = []
    for name in JOINTS:
        side, _, joint = name.rpartition(" ")
        x, y, z = posed.get(name) or REST[joint]
        places.append((-abs(x) if side == "right" else x, y, z - SINK.get(figure.pose, 0.0)))
    c, s = math.cos(figure.yaw), math.sin(figure.yaw)
    turned = np.array([(c, s, 0), (-s, c, 0), (0, 0, 1)])
    made: np.ndarray = (np.array(places) @ turned + np.array((figure.x, figure.y, 0))).astype(np.float32)
    return made


@lru_cache(maxsize=64)
def limbs(figure: Figure) -> Limbs:
    """Return the body as capsules, each covered by skin, eyes, hair, shirt, legs, hat or shoes."""
    at = dict(zip(JOINTS, joints(figure), strict=True))
    c, s = np.cos(figure.yaw), np.sin(figure.yaw)
    front = np.array((s, -c, 0), np.float32)
    up = np.array((0, 0, 1), np.float32)
    across = (at["left shoulder"] - at["right shoulder"]) / 0.58
    parts: list[tuple[np.ndarray, np.ndarray, float, str]] = [
        (at["head"], at["head"] + 0.02 * up, 0.25, "skin"),
        (at["neck"] - 0.05 * up, at["neck"] + 0.1 * up, 0.09, "skin"),
        (at["left shoulder"] - 0.04 * across, at["right shoulder"] + 0.04 * across, 0.12, "shirt"),
        (at["neck"] + 0.11 * across - 0.2 * up, at["pelvis"] + 0.09 * across + 0.1 * up, 0.17, "shirt"),
        (at["neck"] - 0.11 * across - 0.2 * up, at["pelvis"] - 0.09 * across + 0.1 * up, 0.17, "shirt"),
        (at["left hip"], at["right hip"], 0.165, "legs"),
    ]
    for k in (-0.085, 0.085):
        eye = at["head"] + k * across + 0.228 * front - 0.01 * up
        parts.append((eye, eye + 0.03 * up, 0.036, "eyes"))
    for side in ("left", "right"):
        shoulder, elbow, wrist, hip, knee, ankle = (
            at[f"{side} {joint}"] for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        )
        toes = ankle + 0.14 * front - 0.03 * up
        parts += [
            (shoulder, elbow, 0.1, "shirt"),
            (elbow, wrist, 0.08, "skin"),
            (wrist, wrist + 0.05 * (wrist - elbow), 0.1, "skin"),
            (hip, knee, 0.145, "skin" if figure.legs == "skirt" else "legs"),
            (knee, ankle, 0.11, "legs" if figure.legs == "trousers" else "skin"),
            (ankle, toes, 0.1, "shoes"),
        ]
    if figure.legs == "skirt":  # folds from the waist to a ring around the knees
        waist, hem = at["pelvis"] + 0.06 * up, (at["left knee"] + at["right knee"]) * 0.42 + at["pelvis"] * 0.16
        beside = np.cross(hem - waist, across)
        beside *= np.linalg.norm(across) / np.linalg.norm(beside)
        for turn in np.arange(FOLDS) * (2 * np.pi / FOLDS):
            out = np.cos(turn) * across + np.sin(turn) * beside
            parts.append((waist + 0.11 * out, hem + 0.27 * out, 0.075, "legs"))
    crown = at["head"] + 0.1 * up
    if figure.hat == "none":
        parts.append((crown - 0.015 * front + 0.01 * up, crown - 0.06 * front, 0.232, "hair"))
    elif figure.hat == "cap":
        high = crown + 0.05 * up
        parts += [(high - 0.02 * front, high, 0.222, "hat")]
        visor = ((0.16 * front + k * across, 0.33 * front + 0.8 * k * across) for k in (-0.12, -0.04, 0.04, 0.12))
        parts += [(high + start, high + end, 0.04, "hat") for start, end in visor]
    else:
        parts.append((crown + 0.12 * up, crown + 0.3 * up, 0.19, "hat"))
        for k in range(BARS):  # the brim: bars through one centre
            turn = np.pi * k / BARS
            out = 0.34 * (np.cos(turn) * across + np.sin(turn) * front)
            parts.append((crown + 0.09 * up - out, crown + 0.09 * up + out, 0.045, "hat"))
    a, b, r, cover = zip(*parts, strict=True)
    body = Limbs(np.array(a, np.float32), np.array(b, np.float32), np.array(r, np.float32), cover)
    for array in (body.a, body.b, body.r):
        array.flags.writeable = False  # because it is shared by whoever asks next
    return body
