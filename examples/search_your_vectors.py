"""Search vectors that you have already, of two models that have never met.

Stands in for your models with made vectors: two views of the same hidden points, in .npy files. They become a store, a
space is fitted on most items, and the others are found across the two.

    python examples/search_your_vectors.py
"""

import tempfile
from pathlib import Path

import numpy as np

import isthmus
from isthmus.workbench.evaluate import evaluate
from isthmus.workbench.vectors import take_vectors


def main(n: int = 600) -> float:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((n, 12))
    with tempfile.TemporaryDirectory() as scratch:
        files = {}
        for modality, d in {"image": 64, "text": 48}.items():
            seen = np.tanh(points @ rng.standard_normal((12, d)) / 3) + 0.05 * rng.standard_normal((n, d))
            files[modality] = Path(scratch) / f"{modality}.npy"
            np.save(files[modality], seen.astype(np.float16))
        made_by = {"image": "my_picture_model", "text": "my_text_model"}
        store = take_vectors(files, encoder=made_by, out=Path(scratch) / "store")
        space = isthmus.align(store, modalities=["image", "text"], hold_out=100, settings={"steps": 100})
        found = evaluate(store, space=space, pair="text:image").mean["text_to_image"]["r@1"]
        print(f"of 100 items that the space was not fitted on, {found:.0%} are found first by their text (chance: 1%)")
        index = isthmus.build_index(store, space=space, out=Path(scratch) / "index")
        query = store.vectors("text", keys=["row 7"])
        hit = index.search(space.transform("text", query.x), k=1, modality="image")[0][0]
        print(f"the picture nearest to text 7: {hit.key}, {hit.score:.2f}")
        return found


if __name__ == "__main__":
    main()
