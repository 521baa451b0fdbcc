"""Which of your encoders should be brought together? CKA says so before any training.

Four ways to see an OpenMoji drawing and three to read its name make twelve pairs. Their CKA is measured on the training
concepts alone; then every pair is aligned, asked for held-out pictures by name, and the two orders are compared
(Spearman's correlation). About two minutes.

    python examples/choose_encoders.py [--steps 200] [--items 1648] [--out encoders.svg]
"""

import argparse
import functools
from pathlib import Path

import numpy as np
import scipy.stats
from PIL import Image

from isthmus import data, encoders
from isthmus.data.splits import holdout
from isthmus.methods.spaces.projectors import Projectors, rank_pairs
from isthmus.metrics.retrieval import per_query, retrieval_ranks


def pixels(pictures: list[Image.Image], side: int) -> np.ndarray:
    return np.stack([np.asarray(p.resize((side, side)), dtype=np.float32).ravel() / 255 for p in pictures])


def trigrams(names: list[str], width: int = 512) -> np.ndarray:
    """Counts of letter trigrams, hashed by position in a fixed alphabet: a text encoder that knows no words."""
    counts = np.zeros((len(names), width), dtype=np.float32)
    for row, name in zip(counts, names, strict=True):
        word = f" {name} "
        for a, b, c in zip(word, word[1:], word[2:], strict=False):
            row[(ord(a) * 961 + ord(b) * 31 + ord(c)) % width] += 1
    return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def main(steps: int, items: int, out: Path) -> float:
    records = data.load("openmoji").of("image")[:items]
    pictures, names = [r.load() for r in records], [r.text or "" for r in records]
    seen = encoders.load("efficientnet_lite0", "image").encode("image", pictures)
    head = 1280  # of its last map; the vector goes on with the statistics of earlier stages
    sight = {"EfficientNet": seen, "its last map": seen[:, :head], "pixels 16": pixels(pictures, 16)}
    sight["pixels 4"] = pixels(pictures, 4)
    read = {"E5": encoders.load("e5_small", "text").encode("text", names), "trigrams": trigrams(names)}
    read["noise"] = np.random.default_rng(0).standard_normal((len(names), 256)).astype(np.float32)

    keys = np.array([r.key for r in records])
    split = holdout(keys.tolist(), [r.group for r in records], split=0, n=min(300, len(keys) // 4))
    train, test = np.isin(keys, list(split.train)), np.isin(keys, list(split.test))
    standard = functools.partial(_standard, train=train)
    sight, read = ({k: standard(x) for k, x in side.items()} for side in (sight, read))

    ranking = rank_pairs({k: x[train] for k, x in sight.items()}, {k: x[train] for k, x in read.items()})
    out.write_text(ranking.svg(), encoding="utf-8")
    found = []
    print(f"{'picture':14}{'text':10}{'CKA':>7}{'R@10':>7}   ({len(keys[test])} held-out concepts)")
    for pair in ranking.pairs:
        x, y = sight[pair.first], read[pair.second]
        fitted = Projectors(width=256, steps=steps).fit({"image": x[train], "text": y[train]})
        queries, gallery = fitted.transform("text", y[test]), fitted.transform("image", x[test])
        figures = per_query(retrieval_ranks(queries, gallery, keys[test], keys[test]))
        found.append(float(figures["r@10"].mean()))
        print(f"{pair.first:14}{pair.second:10}{pair.cka:7.3f}{found[-1]:7.3f}", flush=True)
    agreement = float(scipy.stats.spearmanr([p.cka for p in ranking.pairs], found).statistic)
    print(f"best pair by CKA: {ranking.best.first} + {ranking.best.second}; Spearman with R@10 {agreement:.2f}; {out}")
    return agreement


def _standard(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Features of equal variance, so that none counts more for its unit."""
    deviation = x[train].std(0)
    return (x - x[train].mean(0)) / (deviation + 1e-3 * deviation.mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("encoders.svg"))
    arguments = parser.parse_args()
    main(arguments.steps, arguments.items, arguments.out)
