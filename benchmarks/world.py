"""How fast the world is drawn: scenes a second of every renderer, of the usual sets of them, and memory when streamed.

    OMP_NUM_THREADS=1 python benchmarks/world.py --out benchmarks/results/world.json

Every figure is of one process on one core, drawing a new scene each time, at `--size` pixels a side. `median` and
`fastest` are over rounds, each of other scenes, by the clock: on a machine with other work, the fastest comes closest
to an idle one. `median_by_processor_time` leaves out the time that other work had the core.
"""

import os
import statistics
import time
import tracemalloc

import report

from isthmus.data import world
from isthmus.data.world.geometry import trace
from isthmus.data.world.renderers import renderer

FLAT = tuple(name for name in world.names() if renderer(name).KIND == "pixels")
SETS = {"picture, caption, mask": ("picture", "caption", "mask"), "all of two dimensions": FLAT}
WANTED = {"picture, caption, mask": 300, "all of two dimensions": 60}


def rate(names, scenes, size, seed):
    """Scenes a second, drawn and rendered: by the clock, and by the seconds that the processor gave us."""
    options = {name: {"size": size} for name in names if renderer(name).KIND == "pixels" or name in ("video", "views")}
    trace.cache_clear()
    started, worked = time.perf_counter(), time.process_time()
    for _ in world.stream(seed, scenes, renderers=names, options=options):
        pass
    return scenes / (time.perf_counter() - started), scenes / (time.process_time() - worked)


def figures(names, scenes, size, rounds):
    clock, processor = zip(*(rate(names, scenes, size, seed) for seed in range(rounds)), strict=True)
    return {
        "median": round(statistics.median(clock), 1),
        "fastest": round(max(clock), 1),
        "median_by_processor_time": round(statistics.median(processor), 1),
    }


def memory(scenes):
    """Bytes held after streaming, and at the highest point, with the caches full before."""
    for _ in world.stream(9, 100, renderers=SETS["picture, caption, mask"]):
        pass
    tracemalloc.start()
    for _ in world.stream(9, scenes, renderers=SETS["picture, caption, mask"], start=100):
        pass
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"held_after": held, "peak": most}


def main():
    parser = report.options(__doc__, rounds=7)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found = {
        "scenes_per_second": {
            name: {**figures(names, options.scenes, options.size, options.rounds), "wanted": WANTED[name]}
            for name, names in SETS.items()
        },
        "renderers_alone": {
            name: figures((name,), max(options.scenes // 4, 10), options.size, 3) for name in world.names()
        },
        "drawing_scenes_only": figures((), options.scenes * 5, options.size, options.rounds),
        "bytes_streaming": {str(n): memory(n) for n in (100, 1000, 3000)},
        "size": options.size,
        "scenes": options.scenes,
        **report.surroundings(),
    }
    report.publish(found, options.out)


if __name__ == "__main__":
    main()
