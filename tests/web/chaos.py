"""kill -9 at random moments while items are written: what was acknowledged is there, and every byte is whole.

    python -m tests.web.chaos --rounds 20        or: make chaos ROUNDS=20

A round starts a server, writes, replaces and deletes items one request after the other, and kills the server with
SIGKILL at a moment drawn by chance. Then the index is opened as the kill has left it: `verify` must find nothing, and
every request that was answered must show. The request that was under way may have happened or not, but whole.
"""

import argparse
import http.client
import json
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import pyarrow as pa

from isthmus.index.index import Index

from . import served
from .process import asked, ended, free_port, started

AT = "/v1/collections/colours"
MOST = 12
"""Requests that are answered before a server is killed, at most."""
LONGEST = 0.15
"""Seconds after the last of them at which it is killed, at most: a request takes about as long."""


def change(known, rng, number):
    """Return the path, the body and the effect {id: text or None} of the next request."""
    if known and rng.random() < 0.2:
        gone = rng.sample(sorted(known), min(len(known), rng.randint(1, 3)))
        return "/delete", {"ids": gone}, dict.fromkeys(gone)
    items = []
    for i in range(rng.randint(1, 5)):
        key = f"n{number}-{i}" if rng.random() < 0.7 or not known else rng.choice(sorted(known)).partition("|")[0]
        items.append({"key": key, "modality": "text", "text": f"{rng.choice(list(served.COLOURS))} {number}"})
    items = list({item["key"]: item for item in items}.values())
    return "/upsert", {"items": items}, {f"{item['key']}|text|": item["text"] for item in items}


def one_round(path, known, rng, number):
    """Write to a server until it is killed; return what was acknowledged, how often, and what was under way."""
    port = free_port()
    server = started(path, port)
    timer = threading.Timer(rng.uniform(0, LONGEST), ended, (server, signal.SIGKILL))
    last = rng.randint(0, MOST)
    done, pending = 0, {}
    while True:
        if done == last:
            timer.start()
        route, body, pending = change(known, rng, f"{number}-{done}")
        try:
            status, answer = asked(port, AT + route, body)
        except (OSError, ValueError, http.client.HTTPException):  # the last two: an answer that was cut
            break
        assert status == 200, answer
        known.update(pending)
        for name in [name for name, text in known.items() if text is None]:
            del known[name]
        done += 1
    timer.join()
    return done, pending


def checked(path, known, pending, first):
    """Raise unless an index holds what was acknowledged, and of what was under way all or nothing; return which."""
    index = Index.open(path)
    assert index.verify() == {}, index.verify()
    items = index.items("text")
    held = dict(zip(items["id"].to_pylist(), items["text"].to_pylist(), strict=True))
    held = {name: text for name, text in held.items() if name not in first}
    after = {name: text for name, text in {**known, **pending}.items() if text is not None}
    assert held in (known, after), {
        "lost": sorted(set(known) - set(held))[:5],
        "of nobody": sorted(set(held) - set(after))[:5],
        "other texts": [name for name in held if name in known and held[name] != known[name]][:5],
    }
    rows = items.filter(pa.compute.is_in(items["id"], pa.array(sorted(held), pa.string())))
    x = index.space.encode("text", rows["text"].to_pylist() or ["red"])
    found = index.search(x[:50], k=len(items), modality="text")
    for text, hits in zip(rows["text"].to_pylist(), found, strict=False):
        assert any(hit.text == text and hit.score > 0.999 for hit in hits), "a vector that is not that of its text"
    return held == after and held != known


def trial(folder, rounds, seed):
    """Kill a server so many times; return what happened, and raise when something was lost."""
    rng = random.Random(seed)
    path = served.build(Path(folder)).path
    first = {f"{name}|text|" for name in served.COLOURS}
    known, report = {}, {"rounds": rounds, "seed": seed, "acknowledged": 0, "happened_unanswered": 0, "lost": 0}
    for number in range(rounds):
        done, pending = one_round(path, known, rng, number)
        report["acknowledged"] += done
        if checked(path, known, pending, first):
            report["happened_unanswered"] += 1
            known = {name: text for name, text in {**known, **pending}.items() if text is not None}
    return {**report, "items": len(known)}


def main():
    from isthmus import encoders

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    encoders.load = served.load
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = trial(folder, given.rounds, given.seed)
    json.dump({**report, "seconds": round(time.monotonic() - start, 1)}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
