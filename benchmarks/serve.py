"""What serving costs over encoding and searching, and how a server holds up at four fifths of what it can do.

    python benchmarks/serve.py --index isthmus-demo/index --out benchmarks/results/serve.json
    python benchmarks/serve.py --index isthmus-demo/index --seconds 600        or: make load SECONDS=600

`overhead`: the same questions, one after the other, to the server and to `workbench.ask` in this process, in turns, so
that a busy machine slows both alike; milliseconds are medians over all questions, and `over` is the median of the
paired differences. Questions are vectors (search alone) and texts (encoding too).

`load`: first as many searches by vector as a few connections get answered, which is `maximum`; then for `--seconds` at
80 % of that. During both 20 items are written every second, and some deleted every tenth. Latencies count from the
moment at which a request was due, not at which it could be sent, so that a stall counts for all who wait behind it
(`search_ms`; `answer_ms` counts from the sending). Where other work takes the cores after the maximum was measured,
more is due than can be answered, and `answered` falls below `rate`. `errors` are answers other than 200; `memory` is
that of the server in MB, at the beginning and in ten equal parts of the time. Client and server share the cores.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import report

from isthmus.index.index import Index
from isthmus.workbench.ask import Question, ask

CONNECTIONS = 4
SHARE = 0.8
WRITTEN = 20
"""Items of a write."""
TEXTS = (
    "a red fruit",
    "a cat laughing",
    "rain at night",
    "two people dancing",
    "a musical instrument",
    "a small house",
)


class Server:
    """A server of an index in a process of its own."""

    def __init__(self, index: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-c", "from isthmus.cli import main; main()", "serve", f"it={index}"]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port)], env={**os.environ, "OMP_NUM_THREADS": "1"}
        )

    def __enter__(self) -> "Server":
        while True:
            assert self.process.poll() is None, "the server ended"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready"):
                    return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)

    @property
    def memory(self) -> float:
        """Megabytes of memory that the process holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return round(int(re.findall(r"VmRSS:\s*(\d+)", status)[0]) / 1000, 1)


class Connection:
    """One kept-alive connection."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def open(self) -> "Connection":
        """Connect, and return the connection."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Send bytes of JSON, and return the status and the answer."""
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        length = int(re.findall(rb"content-length: (\d+)", answer)[0])
        return int(answer[9:12]), await self.reader.readexactly(length)


def searches(index: Index, n: int) -> list[dict[str, Any]]:
    """Return n searches by vector as JSON: vectors of the index, turned a little."""
    rng = np.random.default_rng(0)
    modality = index.modalities[0]
    x = np.asarray(index.vectors(modality)[rng.integers(0, len(index.items(modality)), n)])
    x = x + 0.3 * rng.standard_normal(x.shape).astype(np.float32) / x.shape[1] ** 0.5
    return [{"vector": row.round(6).tolist(), "k": 10, "modality": modality} for row in x]


def spread(values: Any) -> dict[str, float]:
    """Return the median and the slow end of times in seconds, in milliseconds."""
    cuts = {"p50": 50, "p90": 90, "p99": 99}
    return {name: round(1000 * float(np.percentile(values, cut)), 2) for name, cut in cuts.items()}


async def overhead(server: Server, index: Index, rounds: int) -> dict[str, Any]:
    """Ask the server and the index in turns; return {vector, text: {server, raw, over}} in milliseconds."""
    connection = await Connection(server.port).open()
    found: dict[str, Any] = {}
    for kind, bodies in (
        ("vector", searches(index, rounds)),
        ("text", [{"text": f"{TEXTS[i % len(TEXTS)]} {i}", "k": 10} for i in range(rounds)]),
    ):
        asked: list[float] = []
        raw: list[float] = []
        for i, body in enumerate(bodies):
            sent = json.dumps(body).encode()
            value = body["vector"] if kind == "vector" else body["text"]
            encoded = np.array([value], np.float32) if kind == "vector" else None
            question = Question(((kind, value),))
            only = {"modality": body.get("modality"), "k": 10}

            async def over_http(sent: bytes = sent) -> float:
                start = time.perf_counter()
                status, _ = await connection.post("/v1/collections/it/search", sent)
                assert status == 200
                return time.perf_counter() - start

            def here(question: Question = question, encoded: Any = encoded, only: dict[str, Any] = only) -> float:
                return report.timed(lambda: [hit.to_json() for hit in ask(index, question, encoded=encoded, **only)])[0]

            # who goes first takes turns too
            one, two = (await over_http(), here()) if i % 2 else (here(), await over_http())[::-1]
            asked.append(one)
            raw.append(two)
        warm = slice(len(bodies) // 10, None)
        over = np.subtract(asked, raw)[warm]
        found[kind] = {"server": spread(asked[warm]), "raw": spread(raw[warm]), "over": spread(over)}
    return found


class Writing:
    """Items written once a second, beside searches."""

    def __init__(self, server: Server, width: int, modality: str) -> None:
        self.server, self.width, self.modality = server, width, modality
        self.times: list[float] = []
        self.errors = 0

    async def __call__(self, seconds: float) -> None:
        """Write for so long."""
        connection = await Connection(self.server.port).open()
        rng, start = np.random.default_rng(1), time.perf_counter()
        for second in range(int(seconds)):
            await asyncio.sleep(max(0.0, start + second - time.perf_counter()))
            keys = [f"load-{(second % 10) * WRITTEN + i}" for i in range(WRITTEN)]
            vectors = rng.standard_normal((WRITTEN, self.width)).round(4).tolist()
            items = [{"key": k, "modality": self.modality, "vector": x} for k, x in zip(keys, vectors, strict=True)]
            bodies: list[tuple[str, dict[str, Any]]] = [("upsert", {"items": items})]
            if second % 10 == 9:
                bodies.append(("delete", {"where": f"key == '{keys[0]}'"}))
            for route, body in bodies:
                began = time.perf_counter()
                status, _ = await connection.post(f"/v1/collections/it/{route}", json.dumps(body).encode())
                self.times.append(time.perf_counter() - began)
                self.errors += status != 200


async def maximum(server: Server, bodies: list[bytes], seconds: float, writing: Writing) -> float:
    """Return how many searches a second a few connections get answered, each asking as fast as it can."""
    end = time.perf_counter() + seconds
    count = 0

    async def one(connection: Connection, mine: list[bytes]) -> None:
        nonlocal count
        while time.perf_counter() < end:
            for body in mine:
                await connection.post("/v1/collections/it/search", body)
                count += 1
                if time.perf_counter() >= end:
                    return

    connections = [await Connection(server.port).open() for _ in range(CONNECTIONS)]
    await asyncio.gather(writing(seconds), *(one(c, bodies[i::CONNECTIONS]) for i, c in enumerate(connections)))
    return count / seconds


async def sustained(
    server: Server, bodies: list[bytes], rate: float, seconds: float, writing: Writing
) -> dict[str, Any]:
    """Search at a steady rate while items are written; return latencies, errors and memory."""
    start = time.perf_counter() + 0.2
    due = iter(range(int(rate * seconds)))
    waits: list[float] = []
    answers: list[float] = []
    memory = [server.memory]
    errors = 0

    async def searching(connection: Connection) -> None:
        nonlocal errors
        for i in due:
            at = start + i / rate
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            sent = time.perf_counter()
            status, _ = await connection.post("/v1/collections/it/search", bodies[i % len(bodies)])
            waits.append(time.perf_counter() - at)
            answers.append(time.perf_counter() - sent)
            errors += status != 200

    async def watching() -> None:
        for part in range(1, 11):
            await asyncio.sleep(max(0.0, start + part * seconds / 10 - time.perf_counter()))
            memory.append(server.memory)

    connections = [await Connection(server.port).open() for _ in range(2 * CONNECTIONS)]
    await asyncio.gather(writing(seconds), watching(), *(searching(c) for c in connections))
    return {
        "seconds": seconds,
        "searches": len(waits),
        "writes": len(writing.times),
        "errors": errors + writing.errors,
        "rate": round(rate, 1),
        "answered": round(len(waits) / (time.perf_counter() - start), 1),
        "search_ms": spread(waits),
        "answer_ms": spread(answers),
        "write_ms": spread(writing.times),
        "memory": memory,
    }


async def measured(given: argparse.Namespace, folder: str) -> dict[str, Any]:
    path = Path(folder) / "index"
    shutil.copytree(given.index, path)
    index = Index.open(path)
    modality = "text" if "text" in index.modalities else index.modalities[0]
    with Server(path) as server:
        found = {"items": len(index), "dim": index.space.dim, "overhead": await overhead(server, index, given.rounds)}
        if given.seconds:
            bodies = [json.dumps(body).encode() for body in searches(index, 500)]
            width = index.space.maps[modality].fingerprint.dim
            best = await maximum(server, bodies, min(20.0, given.seconds), Writing(server, width, modality))
            found["maximum"] = round(best, 1)
            found["load"] = await sustained(
                server, bodies, SHARE * best, given.seconds, Writing(server, width, modality)
            )
    return found


def main() -> None:
    parser = report.options(__doc__, rounds=300)
    parser.add_argument("--index", type=Path, required=True, help="folder of an index, which is copied first")
    parser.add_argument("--seconds", type=float, default=0, help="how long to keep up the load; 0 leaves it out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measured(given, folder))
    report.publish({**found, "surroundings": report.surroundings("fastapi", "uvicorn")}, given.out)


if __name__ == "__main__":
    main()
