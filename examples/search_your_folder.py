"""One search over a folder of pictures, recordings, videos and documents.

Makes a small folder of all of them where none is named, embeds it, and searches it in the default space when that has
been built (`isthmus space build default`), else in a space of the folder's own pictures and names.

    python examples/search_your_folder.py [FOLDER] [--query "a red square"]
"""

import argparse
import tempfile
import wave
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import isthmus
from isthmus.core.errors import NotFound
from isthmus.index.index import Hit
from isthmus.workbench.spaces import default

COLOURS = ("red", "green", "blue", "yellow", "black", "orange")
SHAPES = ("ellipse", "rectangle")


def made(folder: Path) -> Path:
    """Fill a folder with pictures of shapes, a recording and two documents."""
    for colour in COLOURS:
        for shape in SHAPES:
            picture = Image.new("RGB", (96, 96), "white")
            getattr(ImageDraw.Draw(picture), shape)((16, 16, 80, 80), fill=colour)
            path = folder / colour / f"{colour}-{'circle' if shape == 'ellipse' else 'square'}.png"
            path.parent.mkdir(exist_ok=True, parents=True)
            picture.save(path)
    (folder / "recipes.md").write_text("# Apple pie\n\nApples, flour and butter; an hour in the oven.\n")
    (folder / "travel.html").write_text("<h1>By train</h1><p>The night train leaves for the sea at eight.</p>")
    with wave.open(str(folder / "a low tone.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        tone = 9000 * np.sin(2 * np.pi * 110 * np.arange(16_000) / 16_000)
        file.writeframes(tone.astype("<i2").tobytes())
    return folder


def main(folder: Path | None = None, query: str = "a red square") -> list[Hit]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = folder or made(Path(scratch) / "files")
        store = isthmus.embed(folder, out=Path(scratch) / "store")
        try:
            space = default()
        except NotFound:
            space = isthmus.align(store, modalities=["image", "text"], settings={"steps": 60})
        index = isthmus.build_index(store, space=space, out=Path(scratch) / "index")
        hits = []
        for modality in index.modalities:
            print(f"{modality} nearest to {query!r}")
            for hit in index.search_items("text", [query], k=3, modality=modality)[0]:
                print(f"  {hit.score:6.3f}  {hit.uri}  {(hit.text or '')[:50]}")
                hits.append(hit)
        return hits


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--query", default="a red square")
    asked = parser.parse_args()
    main(asked.folder, asked.query)
