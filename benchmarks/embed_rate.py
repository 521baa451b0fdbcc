"""How fast `embed` is beside the bare encoder: reading, decoding, hashing and writing should cost next to nothing.

    OMP_NUM_THREADS=1 python benchmarks/embed_rate.py --out benchmarks/results/embed_rate.json

Both arms take turns in one run: the encoder alone, on items that are decoded and in memory, in the batches that `embed`
makes of them; and `embed` from files on disk into a store on disk. `rate` is items a second, the median over rounds;
`ratio` the median of their ratios, 1 where `embed` keeps up with the encoder. `ratio_of_fastest` compares the best
round of each: on a machine with other work, what comes closest to an idle one. `decode_share` is the time that
decoding takes on one core beside that of encoding: without overlap the ratio were 1 / (1 + decode_share) at best. An
encoder that uses every core leaves none to decode on; OMP_NUM_THREADS says how many it takes.
"""

import statistics
import tempfile
from pathlib import Path

import numpy as np
import report
from PIL import Image
from report import timed

from isthmus import data, encoders
from isthmus.workbench.embed import embed

WORDS = ("the", "red", "green", "boat", "harbour", "cat", "dog", "garden", "house", "tree", "under", "beside", "old")


def pictures(folder, n):
    """Write photographs of clouds of colour: JPEG files of 640 by 480."""
    for i in range(n):
        rng = np.random.default_rng(i)
        rough = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize((640, 480), Image.BICUBIC)
        grain = rng.normal(0, 8, (480, 640, 1))
        Image.fromarray(np.clip(np.asarray(rough) + grain, 0, 255).astype(np.uint8)).save(folder / f"{i:05d}.jpg")


def texts(folder, n):
    """Write sentences: a file each."""
    for i in range(n):
        rng = np.random.default_rng(i)
        (folder / f"{i:05d}.txt").write_text(" ".join(rng.choice(WORDS, 20)))


def vit_small():
    """Return timm's ViT-S/16 with random weights, which take as long as trained ones."""
    import timm

    from isthmus.encoders.timm import Timm

    return Timm("timm/vit_small_patch16_224", timm.create_model("vit_small_patch16_224", num_classes=0).eval())


RUNS = [
    ("image", lambda: encoders.load("efficientnet_lite0", "image"), pictures, 768),
    ("image", vit_small, pictures, 128),
    ("text", lambda: encoders.load("e5_small", "text"), texts, 128),
]


def measure(modality, load, write, n, batch, rounds):
    encoder = load()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "files"
        folder.mkdir()
        write(folder, n)
        source = data.load(folder)
        records = source.of(modality)
        decoding, items = timed(lambda: [record.load() for record in records])

        def bare():
            return [encoder.encode(modality, items[i : i + batch]) for i in range(0, len(items), batch)]

        def whole(r):
            return embed(source, encoders={modality: encoder}, out=Path(scratch) / f"store{r}", batch_size=batch)

        bare(), whole("warm")
        raw, full = [], []
        for r in range(rounds):
            raw.append(timed(bare)[0])
            seconds, store = timed(lambda r=r: whole(r))
            full.append(seconds)
        same = np.abs(store.vectors(modality).x - np.concatenate(bare())).max()
    return {
        "modality": modality,
        "encoder": encoder.fingerprint.encoder,
        "items": n,
        "batch": batch,
        "rounds": rounds,
        "rate": {
            "encoder": round(n / statistics.median(raw), 1),
            "embed": round(n / statistics.median(full), 1),
        },
        "ratio": round(statistics.median(a / b for a, b in zip(raw, full, strict=True)), 3),
        "ratio_of_fastest": round(min(raw) / min(full), 3),
        "ratios": [round(a / b, 3) for a, b in zip(raw, full, strict=True)],
        "decode_share": round(decoding / statistics.median(raw), 3),
        "largest_difference": float(same),
    }


def main():
    parser = report.options(__doc__, rounds=7)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    found = {
        "runs": [measure(*run, options.batch, options.rounds) for run in RUNS],
        **report.surroundings(),
    }
    report.publish(found, options.out)


if __name__ == "__main__":
    main()
