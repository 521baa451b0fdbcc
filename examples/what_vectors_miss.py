"""Retrieval looks solved until the distractors differ in one thing only.

Two encoders that know which colours and things there are, but not what belongs to what, are joined by ridge regression
on scenes of which everything is known. Among strangers most pictures find their caption. Among exact hard negatives
they notice a further thing at times, and a swap of attributes or places, or a count, hardly ever. Ten seconds, numpy
alone.

    python examples/what_vectors_miss.py [--train 2000] [--test 200]
"""

import argparse

import numpy as np

from isthmus.data import world
from isthmus.data.world.words import COLOUR, SIZE
from isthmus.tasks import drawn, hard_negatives

WORDS = sorted({*COLOUR["en"], *SIZE["en"], "rubber", "metal", "glass", "wooden", "person", "two", "three", "four"})
BINS = 6


def colours(picture: np.ndarray) -> np.ndarray:
    """How much of the picture has which colour: a histogram of 6 x 6 x 6 colours, square roots."""
    places = picture.reshape(-1, 3).astype(int) * BINS // 256 @ (BINS * BINS, BINS, 1)
    return np.sqrt(np.bincount(places, minlength=BINS**3).astype(np.float32))


def words(caption: str) -> np.ndarray:
    """How often each of a few words is said."""
    said = caption.lower().replace(".", " ").replace(",", " ").split()
    return np.array([said.count(word) for word in WORDS], np.float32)


def main(train: int = 2000, test: int = 200) -> dict[str, float]:
    scenes = list(drawn.training(0, train))
    x = np.stack([colours(world.render("picture", scene)) for scene in scenes])
    y = np.stack([words(world.render("caption", scene)) for scene in scenes])
    centre_x, centre_y = x.mean(0), y.mean(0)
    x, y = x - centre_x, y - centre_y
    ridge = np.linalg.solve(x.T @ x + 100 * np.eye(x.shape[1]), x.T @ y)

    data = hard_negatives.make(0, test)
    seen = (np.stack([colours(picture) for picture in data.pictures()]) - centre_x) @ ridge
    said = np.stack([words(caption) for caption in data.captions]) - centre_y
    found = hard_negatives.score(data, {"picture": seen, "caption": said})
    strangers = hard_negatives.Contrast(data.scenes[:test], data.captions[:test], {"none": np.array([[0, 1]])})
    alone = hard_negatives.score(strangers, {"picture": seen[:test], "caption": said[:test]})
    figures = {
        f"picture to caption, R@1 among {test} strangers": alone["picture_to_caption r@1"],
        f"the same, with their {len(data.scenes) - test} hard negatives": found["picture_to_caption r@1"],
        **{f"{kind}: picture and caption both ways": found[f"{kind} group"] for kind in data.pairs},
    }
    for name, value in figures.items():
        print(f"{name:55} {value:.3f}")
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--test", type=int, default=200)
    asked = parser.parse_args()
    main(asked.train, asked.test)
