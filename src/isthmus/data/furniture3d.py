"""Sweet Home 3D furniture: textured models with icons and names in many languages.

Each of five catalogues is a zip file of Wavefront models, which is read where it lies. A model is a cloud of points
with colours and normals (modality "points"), an icon, and views of it that are drawn here.
"""

import functools
import hashlib
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from isthmus.core.errors import BadInput, NotFound
from isthmus.data.card import DataCard
from isthmus.data.fetch import Part, Source, find, located
from isthmus.data.languages import tag
from isthmus.data.mesh import Surface, read_surface, render, sample
from isthmus.data.picture import decode_picture
from isthmus.data.records import DataSet, Record, joined, text_record

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CARD", "SOURCE", "VIEWS", "groups", "load", "open_picture"]

CARD = DataCard(
    name="furniture3d",
    title="Sweet Home 3D furniture: textured 3D models with icons and names in many languages",
    licence="CC BY 3.0 (Scopia, Kator Legaz, Reallusion, Blend Swap CC-BY); CC0 (Blend Swap CC-0)",
    attribution=(
        "Models © Scopia, Andrew Kator and Jennifer Legaz, Reallusion, and contributors of Blend Swap; catalogues © "
        "Emmanuel Puybaret / eTeks, www.sweethome3d.com"
    ),
    packages=("sweethome3d-furniture (Debian)", "trimesh", "embreex"),
    extra="mesh",
    counts=(
        "820 models (820 clouds of points, 820 icons, 3,280 views), 17,220 names in 21 languages, 12 categories; 589 "
        "near-duplicate groups, 111 of them of several models (342 models)"
    ),
    modalities=("image", "points", "text"),
    variants=("image: icon, view-30, view-120, view-210, view-300", "text: a language"),
    split="the keys with the smallest sha256 of 'isthmus-{split}:{key}' are held out; the key is the id of the model",
    near_duplicates=(
        "one group: English names equal but for case, numbers, sides, sizes and colours (25 are a chair). Of the icons "
        "of different groups four pairs differ by less than 5 % of their ink, all of them wall plugs or switches; "
        "none by less than 2 %"
    ),
    schemes=("furniture3d",),
)

SOURCE = Source(
    client="apt",
    megabytes=120,
    parts=(
        Part(
            package="sweethome3d-furniture",
            version="1.8-1",
            sha256="e542c0b4a0ea9eb50afca1f080da7b89120c68ad531e1b8a266df20276c6880a",
            root="usr/share/sweethome3d/furniture",
            keep=("*.sh3f",),
        ),
    ),
)

PACKAGE = "sweethome3d-furniture"
VIEWS = (30, 120, 210, 300)
"""Angles around a model, in degrees from its front, that it is seen from."""
POINTS = 10_000
CATALOGUE = re.compile(r"PluginFurnitureCatalog(?:_(\w+))?\.properties")
ENTRY = re.compile(r"(\w+)#(\d+)\s*[=:]\s*(.*)")
ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
WHICH_ONE = re.compile(r"\W|\d|\b(left|right|small|big|large|black|white|red|blue|green|open|closed)\b")
"""What tells models of one name apart: numbers, sides, sizes, colours."""


@dataclass(frozen=True)
class Model:
    """A model: its key, its names by language, its properties in English, and the zip file that it lies in."""

    key: str
    names: Mapping[str, str]
    properties: Mapping[str, str]
    archive: Path

    @property
    def member(self) -> str:
        """The file in the archive that holds the triangles."""
        return self.properties["model"].lstrip("/")


def load(*, views: Sequence[int] = VIEWS, points: int = POINTS, size: int = 224, folder: Path | None = None) -> DataSet:
    """Return the points, the icon, the views and the names of every model.

    Points load as an array of `points` × 9: place (within the unit sphere, y up), colour (0 to 1) and normal. `views`
    are angles in degrees around a model, `size` is the side of the views in pixels. The meta of points and pictures
    holds the English ``name``, ``tags``, ``category``, ``creator`` and the ``size`` in centimetres (width × depth ×
    height). `folder` is a fetched set elsewhere than in the cache.

    Raises `NotFound` when the set has not been fetched.
    """
    if size < 1 or points < 1:
        raise BadInput(f"furniture3d: size and points must be at least 1, got {size} and {points}")
    root = (find("furniture3d") if folder is None else folder) / PACKAGE
    return DataSet("furniture3d", list(_records(_models(root), tuple(views), points, size)), CARD, root=root)


def groups(names: Mapping[str, str]) -> dict[str, str]:
    """Return {key: group} for the English names by key: the near-duplicate rule of the card.

    Models are in one group when their names are equal but for case, numbers, sides, sizes and colours.
    """
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for key, name in names.items():
        folded = name.casefold()
        alike[WHICH_ONE.sub("", folded) or folded].append(key)
    return joined(names, alike.values())


def open_picture(rest: str, root: Path | None = None) -> "Image.Image":
    """Return the icon of a model such as ``Scopia#bed1``, or a view of it, ``Scopia#bed1@30``."""
    key, _, angle = rest.partition("@")
    known = _by_key(located("furniture3d", PACKAGE, root))
    if key not in known or (angle and not re.fullmatch(r"\d{1,3}", angle)):
        raise NotFound(f"there is no model {rest!r}; models are called as Scopia#bed1, and views as Scopia#bed1@30")
    return _view(known[key], int(angle), 224) if angle else _icon(known[key])


def _records(models: Sequence[Model], views: Sequence[int], points: int, size: int) -> Iterator[Record]:
    group = groups({model.key: model.names["en"] for model in models})
    for model in models:
        said = model.properties
        meta = {"name": model.names["en"], **{field: said.get(field, "") for field in ("tags", "category", "creator")}}
        meta["size"] = " × ".join(said.get(field, "?") for field in ("width", "depth", "height"))
        contents: list[tuple[str, str, str, functools.partial[Any]]] = [
            ("points", "", "", functools.partial(_points, model, points)),
            ("image", "icon", "", functools.partial(_icon, model)),
            *(("image", f"view-{a}", f"@{a}", functools.partial(_view, model, a, size)) for a in views),
        ]
        for modality, variant, at, load in contents:
            yield Record(
                key=model.key,
                modality=modality,
                variant=variant,
                group=group[model.key],
                text=model.names["en"],
                uri=f"furniture3d:{model.key}{at}",
                meta=meta,
                load=load,
                digest=functools.partial(_digest, model, modality, variant, *map(str, load.args[1:])),
            )
        for language, name in model.names.items():
            yield text_record(model.key, name, variant=language, group=group[model.key])


@functools.lru_cache(maxsize=1)
def _by_key(root: Path) -> dict[str, Model]:
    """Return the models by key, read once: a page opens hundreds of uris."""
    return {model.key: model for model in _models(root)}


def _models(root: Path) -> list[Model]:
    return [model for path in sorted(root.glob("*.sh3f")) for model in _catalogue(path)]


def _catalogue(path: Path) -> Iterator[Model]:
    """Read the models of a catalogue: a properties file in English, and one with the names in each other language."""
    entries: defaultdict[str, dict[str, dict[str, str]]] = defaultdict(dict)  # by number, then language
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if match := CATALOGUE.fullmatch(name):
                    for line in archive.read(name).decode("latin-1").splitlines():  # as Java reads them
                        if entry := ENTRY.fullmatch(line.strip()):
                            value = ESCAPE.sub(lambda found: chr(int(found[1], 16)), entry[3]).strip()
                            entries[entry[2]].setdefault(tag(match[1] or "en"), {})[entry[1]] = value
    except (zipfile.BadZipFile, OSError) as error:
        raise BadInput(f"{path}: the catalogue cannot be read ({error})") from error
    for said in entries.values():
        if "id" in (english := said.get("en", {})):
            names = {language: words["name"] for language, words in said.items() if words.get("name")}
            yield Model(english["id"], names, english, path)


def _points(model: Model, n: int) -> Float32[np.ndarray, "n 9"]:
    return sample(_surface(model), n, seed=int.from_bytes(hashlib.sha256(model.key.encode()).digest()[:4]))


def _view(model: Model, angle: int, size: int) -> "Image.Image":
    return render(_surface(model), azimuth=angle, size=size)


def _icon(model: Model) -> "Image.Image":
    with zipfile.ZipFile(model.archive) as archive, archive.open(model.properties["icon"].lstrip("/")) as file:
        return decode_picture(file, f"{model.archive}: {model.key}")


def _surface(model: Model) -> Surface:
    """Read the model with its materials and textures, and turn it as the catalogue says."""
    rotation = [float(number) for number in model.properties.get("modelRotation", "").split()]
    with zipfile.ZipFile(model.archive) as archive:
        files = {Path(entry.filename).name: archive.read(entry) for entry in _parts(archive, model)}
    try:
        turned = np.array(rotation, np.float32).reshape(3, 3) if rotation else None
        return read_surface(files[Path(model.member).name], files, turned)
    except (BadInput, KeyError) as error:
        raise BadInput(f"{model.archive}: {model.key}: {error}") from error


def _parts(archive: zipfile.ZipFile, model: Model) -> list[zipfile.ZipInfo]:
    """Return the entries of the files that lie beside the triangles."""
    folder = model.member.rpartition("/")[0]
    return [entry for entry in archive.infolist() if entry.filename.rpartition("/")[0] == folder and not entry.is_dir()]


def _digest(model: Model, *asked: str) -> str:
    """Hash what was asked for and the checksums of the files, which the archive has already."""
    with zipfile.ZipFile(model.archive) as archive:
        entries = [*_parts(archive, model), archive.getinfo(model.properties["icon"].lstrip("/"))]
        sums = [f"{entry.filename} {entry.file_size} {entry.CRC}" for entry in entries]
    return hashlib.sha256("\n".join([*asked, *sums]).encode()).hexdigest()
