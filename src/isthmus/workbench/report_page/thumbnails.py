"""All small pictures of a page in one sprite sheet: a picture that is shown ten times is stored once."""

import base64
import io
from typing import Any

from PIL import Image

__all__ = ["COLUMNS", "Sheet"]

COLUMNS = 20
"""Tiles in a row of every sheet, so that a number alone says where its tile is."""


class Sheet:
    """Collects pictures under a name and gives each a number; `to_json` packs them into one WebP data URI.

    `size` is the side of a tile in pixels. A picture keeps its proportions and is centred on white.
    """

    def __init__(self, size: int = 96, quality: int = 80) -> None:
        self.size, self.quality = size, quality
        self._numbers: dict[str, int] = {}
        self._tiles: list[Image.Image] = []

    def __len__(self) -> int:
        return len(self._tiles)

    def number(self, name: str) -> int | None:
        """Return the number of a picture that is in the sheet already, or None."""
        return self._numbers.get(name)

    def add(self, name: str, picture: Image.Image) -> int:
        """Put a picture on the sheet, once a name, and return its number."""
        if name not in self._numbers:
            small = picture.convert("RGB")
            small.thumbnail((self.size, self.size), Image.Resampling.LANCZOS)
            tile = Image.new("RGB", (self.size, self.size), "white")
            tile.paste(small, ((self.size - small.width) // 2, (self.size - small.height) // 2))
            self._numbers[name] = len(self._tiles)
            self._tiles.append(tile)
        return self._numbers[name]

    def to_json(self) -> dict[str, Any]:
        """Return {uri, rows, count}: the sheet as a data URI, its rows of `COLUMNS` tiles and how many it holds."""
        if not self._tiles:
            return {"uri": "", "rows": 0, "count": 0}
        rows = -(-len(self._tiles) // COLUMNS)
        sheet = Image.new("RGB", (COLUMNS * self.size, rows * self.size), "white")
        for i, tile in enumerate(self._tiles):
            sheet.paste(tile, (i % COLUMNS * self.size, i // COLUMNS * self.size))
        buffer = io.BytesIO()
        sheet.save(buffer, "WEBP", quality=self.quality, method=4)
        uri = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
        return {"uri": uri, "rows": rows, "count": len(self._tiles)}
