"""A folder of pictures: every picture with its caption, from a file beside it or from its own name.

A picture ``trips/old_harbour.jpg`` has the text of ``trips/old_harbour.txt`` where that file exists, else the words
"old harbour". Nothing outside the folder is read: links that lead out of it, and links to folders, are set aside.
"""

import functools
import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from isthmus.core.errors import BadInput, NotFound
from isthmus.data.card import DataCard
from isthmus.data.picture import SUFFIXES, read_picture
from isthmus.data.records import DataSet, Record, joined, text_record

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CARD", "load", "open_picture"]

CARD = DataCard(
    name="folder",
    title="A folder of pictures with captions",
    licence="as the files in it",
    attribution="",
    packages=("pillow", "resvg-py"),
    extra="image",
    counts="one picture and one text for every .png, .jpg, .jpeg, .webp, .gif and .svg file, however deep",
    modalities=("image", "text"),
    variants=("",),
    split="the keys with the smallest sha256 of 'isthmus-{split}:{key}' are held out; the key is the relative path",
    near_duplicates="Pictures are near-duplicates when their files are equal byte for byte, or when their texts are "
    "equal but for case; directly, or through others.",
    schemes=("file",),
    by_path=True,
)

MAX_CAPTION_BYTES = 1_000_000


def load(path: str | Path) -> DataSet:
    """Return a picture and a text record for every picture file under a folder, in the order of their paths.

    Hidden files and folders are passed over. What is found but cannot be used (a link out of the folder, a name that
    is not UTF-8, an empty caption) is a record whose `load` raises `BadInput`, as a corrupt picture does, so that
    embedding sets it aside with the reason. Raises `NotFound` when the folder does not exist, and `BadInput` when it
    is not a folder or has no picture.
    """
    path = Path(path)
    if not path.exists():
        raise NotFound(f"{path}: no such folder")
    if not path.is_dir():
        raise BadInput(f"{path} is not a folder; give the folder that the pictures lie in")
    root = path.resolve()
    found = dict(sorted((_key(file, root), (file, problem)) for file, problem in _walk(root)))
    captions = {key: _caption(file) for key, (file, problem) in found.items() if not problem}
    if not captions:
        aside = "".join(f"; set aside: {key}, {problem}" for key, (_, problem) in list(found.items())[:3])
        raise BadInput(f"{path} holds no picture: looked for {', '.join(sorted(SUFFIXES))} at any depth{aside}")
    group = _groups({key: found[key][0] for key in captions}, {key: text for key, (text, _) in captions.items()})
    records = []
    for key, (file, problem) in found.items():
        if problem:
            records.append(_set_aside(key, "image", f"{path / key}: {problem}"))
            continue
        text, problem = captions[key]
        records.append(
            Record(
                key=key,
                modality="image",
                group=group[key],
                text=text or None,
                uri=f"file:{key}",
                load=functools.partial(read_picture, file),
                digest=functools.partial(_digest, file),
            )
        )
        if problem:
            records.append(_set_aside(key, "text", problem))
        else:
            records.append(text_record(key, text, group=group[key], uri=f"file:{key}"))
    return DataSet(root.name or str(root), records, CARD, root)


def open_picture(rest: str, root: Path | None) -> "Image.Image":
    """Return the picture at a path relative to `root`; `BadInput` when it lies outside."""
    if root is None:
        raise BadInput(f"file:{rest} is relative to the folder it came from: give that folder as root")
    file = (root / rest).resolve()
    if not file.is_relative_to(root.resolve()):
        raise BadInput(f"file:{rest} lies outside {root}")
    if not file.is_file():
        raise NotFound(f"{root / rest}: the picture is gone")
    return read_picture(file)


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield picture files with an empty string, and what looks like one but cannot be used with the reason."""
    for folder, folders, files in os.walk(root):  # links to folders are listed among `folders`, and not followed
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if (link := Path(folder, name)).is_symlink():
                yield link, "a link to a folder is not followed; name that folder, or copy it here"
        for name in files:
            file = Path(folder, name)
            if name.startswith(".") or file.suffix.lower() not in SUFFIXES:
                continue
            yield file, _problem(file, root)


def _problem(file: Path, root: Path) -> str:
    try:
        str(file).encode()
        target = file.resolve(strict=True)
    except UnicodeEncodeError:
        return "the name of the file is not UTF-8; rename it"
    except (OSError, RuntimeError):  # RuntimeError: how Python 3.11 and 3.12 report a loop of links
        return "a link that leads nowhere"
    if not target.is_relative_to(root):
        return f"a link that leads out of the folder, to {target}; copy the picture here"
    return "" if target.is_file() else "not a regular file"


def _key(file: Path, root: Path) -> str:
    return os.fsencode(file.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")


def _caption(file: Path) -> tuple[str, str]:
    """Return the text of a picture and an empty string, or an empty text and what is wrong with it."""
    beside = file.with_suffix(".txt")
    if not beside.exists():
        text = " ".join(re.split(r"[\s_-]+", file.stem)).strip()
        return text, "" if text else f"{file}: no caption can be made of this name; put one in {beside.name}"
    try:
        if beside.is_symlink():
            raise OSError("a link")
        if beside.stat().st_size > MAX_CAPTION_BYTES:
            raise OSError(f"more than {MAX_CAPTION_BYTES // 1_000_000} MB")
        text = " ".join(beside.read_text(encoding="utf-8-sig").split())
    except (OSError, UnicodeDecodeError) as error:
        return "", f"{beside}: the caption cannot be read ({error})"
    return text, "" if text else f"{beside}: the caption is empty"


def _groups(files: Mapping[str, Path], texts: Mapping[str, str]) -> dict[str, str]:
    """Return {key: first key of its group}: equal bytes or equal text, directly or through others."""
    sizes: defaultdict[int, list[str]] = defaultdict(list)
    for key, file in files.items():
        sizes[file.stat().st_size].append(key)
    marks: defaultdict[str, list[str]] = defaultdict(list)
    for keys in sizes.values():
        for key in keys if len(keys) > 1 else ():  # files of different size need no look inside
            marks[_digest(files[key])].append(key)
    for key, text in texts.items():
        marks["text:" + (text.casefold() or key)].append(key)
    return joined(files, marks.values())


def _digest(file: Path) -> str:
    """Return the SHA-256 of the file; of the error where it cannot be read, which `load` then raises."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        return hashlib.sha256(str(error).encode()).hexdigest()


def _set_aside(key: str, modality: str, reason: str) -> Record:
    def load() -> NoReturn:
        raise BadInput(reason)

    def digest() -> str:
        return hashlib.sha256(reason.encode()).hexdigest()

    return Record(key=key, modality=modality, uri=f"file:{key}", load=load, digest=digest)
