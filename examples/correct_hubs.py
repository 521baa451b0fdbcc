"""Some pictures turn up in everybody's results. Take them out of the scores, and see what it is worth.

Needs what `isthmus demo` leaves behind: a store, and a space that names the items it was trained on. Each correction is
tuned on one half of the held-out items and applied to the other, with banks of training items alone. Under a minute.

    python examples/correct_hubs.py isthmus-demo/store isthmus-demo/space [--pair text:image]
"""

import argparse

from isthmus.workbench.evaluate import evaluate

NAMES = ("none", "is", "dual_is", "nnn", "csls")


def main(store: str, space: str, pair: str = "text:image") -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for name in NAMES:
        means = evaluate(store, space=space, pair=pair, correct=name).mean
        found[name] = {direction: mean["r@1"] for direction, mean in means.items()}
        print(f"{name:8}" + "".join(f"  {way.replace('_', ' ')} R@1 {value:.3f}" for way, value in found[name].items()))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("store")
    parser.add_argument("space")
    parser.add_argument("--pair", default="text:image")
    asked = parser.parse_args()
    main(asked.store, asked.space, asked.pair)
