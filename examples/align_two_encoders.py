"""Two encoders that have never met, brought into one space with a few hundred pairs.

EfficientNet-Lite0 sees OpenMoji's drawings and multilingual E5 reads their English names; both come with pip packages.
A quarter of the items is held out, and their names look for their pictures. About half a minute for 400 pairs.

    python examples/align_two_encoders.py [--items 400] [--method projectors]
"""

import argparse
import tempfile
from pathlib import Path

import isthmus
from isthmus import data
from isthmus.workbench.evaluate import evaluate


def main(items: int = 400, method: str = "projectors") -> dict[str, float]:
    whole = data.load("openmoji").only(["image", "text"], {"text": ["en"]})
    chosen = {record.key for record in whole.of("image")[:items]}
    some = data.DataSet(whole.name, [r for r in whole.records if r.key in chosen], whole.card, whole.root)
    with tempfile.TemporaryDirectory() as scratch:
        store = isthmus.embed(
            some, encoders={"image": "efficientnet_lite0", "text": "e5_small"}, out=Path(scratch) / "store"
        )
        space = isthmus.align(store, modalities=["image", "text"], method=method, hold_out=items // 4)
        found = evaluate(store, space=space, pair="text:image").mean["text_to_image"]
    among = items // 4
    print(f"{method} on {items - among} pairs; among {among} pictures that were held out a name finds its own")
    print(f"  first in {found['r@1']:.0%} of the cases, chance {1 / among:.0%}")
    print(f"  among the first ten in {found['r@10']:.0%}, chance {10 / among:.0%}")
    return {name: found[name] for name in ("r@1", "r@10")}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--method", default="projectors")
    asked = parser.parse_args()
    main(asked.items, asked.method)
