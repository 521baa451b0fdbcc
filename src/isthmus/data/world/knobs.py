"""The knobs of the world: what makes a data set of scenes harder or more like a real one."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.core.errors import BadInput, NotFound
from isthmus.data.world.scene import MAX_OBJECTS, SHAPES

__all__ = ["Knobs", "knobs"]


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """What a stream of scenes is like. Every default is the easy end.

    The scenes:

    - `min_objects`, `max_objects`: how many objects a scene has, all numbers alike; at most 8.
    - `person`: share of scenes with a person.
    - `twins`: share of the further objects that are of the same kind as an earlier one ("two red cubes").
    - `stacked`: share of small objects that stand on a large cube or cylinder where there is one.
    - `long_tail`: exponent of Zipf's law over the 72 pairs of shape and colour; 0 is even, 1 a strong tail.
    - `phases`: into how many groups the shapes are split over time, and `phase_length` scenes that a phase lasts;
      the stream begins anew after the last one.

    How they are seen and said:

    - `domain_shift`: from 0, the usual light and paints, to 1, others; what is in the scenes stays the same.
    - `caption_noise`: share of captions that are wrong or say nothing (`isthmus.data.world.noise`).

    Who meets whom:

    - `unpaired`: share of scenes that come in one of their modalities only, drawn evenly.
    - `missing`: chance that a modality of another scene is missing; one always stays.

    The vectors that stand for encoders whose inside is known (`isthmus.data.world.vectors`):

    - `modality_gap`: distance between the centres of two modalities on the unit sphere, 0 to 1.4.
    - `hubness`: from 0, none, to 1, where a few items are among the nearest of a quarter of all queries.
    """

    min_objects: int = 2
    max_objects: int = 5
    person: float = 0.2
    twins: float = 0.1
    stacked: float = 0.3
    long_tail: float = 0.0
    phases: int = 1
    phase_length: int = 1000
    domain_shift: float = 0.0
    caption_noise: float = 0.0
    unpaired: float = 0.0
    missing: float = 0.0
    modality_gap: float = 0.0
    hubness: float = 0.0

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise BadInput(f"knob {name} = {value!r}; expected a number from {low} to {high}")
            if not low <= value <= high:
                hint = f": no more than {MAX_OBJECTS} objects have room on the ground" if name == "max_objects" else ""
                raise BadInput(f"knob {name} = {value}; expected {low} to {high}{hint}")
            if isinstance(DEFAULT[name], int) and not isinstance(value, int):
                raise BadInput(f"knob {name} = {value!r}; expected a whole number")
        if self.min_objects > self.max_objects:
            raise BadInput(f"knob min_objects = {self.min_objects} is above max_objects = {self.max_objects}")
        if self.max_objects == 0 and self.person < 1:
            raise BadInput("knob max_objects = 0 leaves scenes without a person empty; set person = 1")


RANGES: dict[str, tuple[float, float]] = {
    "min_objects": (0, MAX_OBJECTS),
    "max_objects": (0, MAX_OBJECTS),
    **dict.fromkeys(("person", "twins", "stacked", "domain_shift", "caption_noise", "unpaired", "missing"), (0.0, 1.0)),
    "long_tail": (0.0, 4.0),
    "phases": (1, len(SHAPES)),
    "phase_length": (1, 10**9),
    "modality_gap": (0.0, 1.4),
    "hubness": (0.0, 1.0),
}
DEFAULT: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Knobs)}


def knobs(settings: Mapping[str, Any] | Knobs | None = None, /, **more: Any) -> Knobs:
    """Return the knobs with some of them turned; `NotFound` for one that there is not, `BadInput` for a wrong value."""
    known = dataclasses.asdict(settings) if isinstance(settings, Knobs) else settings
    turned = dict(known or {}) | more
    for name in turned:
        if name not in DEFAULT:
            raise NotFound.named("knob", name, DEFAULT)
    return Knobs(**turned)
