"""`isthmus embed` as a process of its own that can be stopped: a slow encoder, tiny parts, and a log of its work.

    python -m tests.cli.slow_embed LOG SECONDS_PER_ITEM ARGUMENTS…

It stands for an encoder of a large model, whose items take seconds; the log gets a line for every item encoded.
"""

import signal
import sys
import time
from pathlib import Path

from isthmus.cli import main
from isthmus.store import writer
from isthmus.workbench import embed
from tests.workbench.small_world import ByColour

ROWS = 10
"""Rows of a part."""


class Slow(ByColour):
    def __init__(self, modality, seed, log, seconds):
        super().__init__(modality, seed)
        self.log, self.seconds = log, seconds

    def encode(self, modality, items, *, batch_size=64):
        vectors = super().encode(modality, items)
        for _ in items:
            time.sleep(self.seconds)
            with self.log.open("a") as file:
                file.write(f"{modality}\n")
        return vectors


if __name__ == "__main__":
    log, seconds = Path(sys.argv[1]), float(sys.argv[2])
    seeds = {"image": 1, "text": 2}
    embed.load_encoder = lambda name, modality, *, device: Slow(modality, seeds[modality], log, seconds)
    writer.PART_BYTES = ROWS * 4 * 8
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts jobs in the background ignores it
    main(sys.argv[3:])
