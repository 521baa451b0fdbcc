"""Try settings of the default space on items that are held out of its training parts, never on those of its figures.

Needs the stores that `isthmus space build default` leaves in the cache. Each argument is a JSON object with "settings"
(of the method) and "emphasis" (of the domains), both laid over what the space is built with:

    python benchmarks/default_space_settings.py '{}' '{"settings": {"width": 256}}' '{"emphasis": {"emoji": 2}}'

One line of JSON a trial: R@1 and R@10 of each data set's validation items by their English names or titles, R@10 of
speech where there is some, and the seconds of the fit.
"""

import json
import sys
import time
from dataclasses import replace

import numpy as np

from isthmus.metrics.retrieval import retrieval_ranks
from isthmus.store.store import Store
from isthmus.workbench.default_space import EMPHASIS, PARTS, SETTINGS, World
from isthmus.workbench.spaces import default_folder

HELD = {"openmoji": 250, "tuxpaint": 150, "openclipart": 250}
ASKED = {"openmoji": "en", "tuxpaint": "en", "openclipart": "title"}


def recall(world, space, keys, source, asking, offered, variant):
    """Return R@1 and R@10 of the records of some keys of one data set."""
    sides = []
    for m, only in ((asking, variant), (offered, None)):
        v = world.vectors[m]
        rows = np.isin(v.keys, sorted(keys)) & (world.source[m] == source)
        rows &= (v.variants == only) if only else True
        sides.append((space.transform(m, v.x[rows]), v.keys[rows]))
    (x, own), (y, others) = sides
    shared = np.isin(own, others)
    first = retrieval_ranks(x[shared], y, own[shared], others).first
    return [round(float((first <= k).mean()), 4) for k in (1, 10)]


def trial(world, held, trained, given):
    started = time.perf_counter()
    settings, emphasis = {**SETTINGS, **given.get("settings", {})}, {**EMPHASIS, **given.get("emphasis", {})}
    space = world.fit(trained, settings, emphasis=emphasis)
    seconds = round(time.perf_counter() - started, 1)
    found = {
        f"{source} text to image": recall(world, space, held[source], source, "text", "image", variant)
        for source, variant in ASKED.items()
    }
    if "speech" in space.maps:
        found["tuxpaint speech to text"] = recall(world, space, held["tuxpaint"], "tuxpaint", "speech", "text", "fr")
    return {"tried": given, **found, "seconds": seconds}


def main(arguments):
    stores = {part.source: Store.open(default_folder() / "stores" / part.source) for part in PARTS}
    whole = World.of(stores, PARTS)
    world = whole.keep(whole.split(PARTS)[1])  # the items of the published figures are gone from here on
    held, trained = world.split([replace(part, held=HELD.get(part.source, 0)) for part in PARTS])
    for given in map(json.loads, arguments or ["{}"]):
        print(json.dumps(trial(world, held, trained, given)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
