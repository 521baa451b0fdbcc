"""A folder of files of any kind: pictures, recordings, videos and documents, however deep.

A picture ``trips/old_harbour.jpg`` has the text of ``trips/old_harbour.txt`` where that file exists, else the words
"old harbour"; so have recordings and videos. A video is a picture every few seconds, a document a text for each of its
passages; their keys and uris say the place: ``talk.mp4#t=12.0``, ``book.pdf#page=3&passage=2``. What a file is, is told
by its content. Nothing outside the folder is read: links that lead out of it, and links to folders, are set aside.
"""

import functools
import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from isthmus.core.errors import BadInput, MissingExtra, NotFound
from isthmus.data.card import DataCard
from isthmus.data.kinds import TEXTS, kind_of
from isthmus.data.passages import read_passages
from isthmus.data.picture import read_picture
from isthmus.data.records import DataSet, Record, joined, text_record
from isthmus.data.sound import Sound, read_sound
from isthmus.data.video import EVERY, frame_times, read_frame

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CARD", "load", "open_picture"]

CARD = DataCard(
    name="folder",
    title="A folder of pictures, recordings, videos and documents",
    licence="as the files in it",
    attribution="",
    packages=("pillow", "resvg-py", "soundfile", "av", "pypdf", "beautifulsoup4"),
    extra="files",
    counts="a picture and a text for every PNG, JPEG, WebP, GIF and SVG file, however deep; speech and a text for "
    "every recording; a picture every 2 s of a video; a text for each passage of text, Markdown, HTML and PDF",
    modalities=("image", "speech", "text"),
    variants=("",),
    split="the keys with the smallest sha256 of 'isthmus-{split}:{key}' are held out; the key is the relative path",
    near_duplicates="Files are near-duplicates when they are equal byte for byte, or when their texts are "
    "equal but for case; directly, or through others. All of a video, and all of a document, is one group.",
    schemes=("file",),
    by_path=True,
)

MAX_CAPTION_BYTES = 1_000_000
DOCUMENTS = ("text", "markdown", "html", "pdf")


def load(path: str | Path, *, every: float = EVERY, recordings: str = "speech") -> DataSet:
    """Return the records of the files under a folder, in the order of their paths.

    `every` is the number of seconds between two frames of a video. `recordings` is the modality of sound files: the
    default space knows "speech"; an encoder of your own may call it "sound".

    Hidden files and folders are passed over, and files of an unknown kind noted in ``set_aside``. What is found but
    cannot be used (a link out of the folder, a name that is not UTF-8, an empty caption, a corrupt document) is a
    record whose `load` raises `BadInput`, as a corrupt picture does, so that embedding sets it aside with the reason.
    Raises `NotFound` when the folder does not exist, and `BadInput` when it is not a folder or has nothing to read.
    """
    path = Path(path)
    if not path.exists():
        raise NotFound(f"{path}: no such folder")
    if not path.is_dir():
        raise BadInput(f"{path} is not a folder; give the folder that the files lie in")
    root = path.resolve()
    found = dict(sorted((_key(file, root), (file, problem)) for file, problem in _walk(root)))
    aside: dict[str, str] = {}
    kinds = {key: _kind(file, problem, key, aside) for key, (file, problem) in found.items()}
    captioned = {
        str(Path(key).with_suffix(".txt")) for key, kind in kinds.items() if kind in ("image", "svg", "sound", "video")
    }
    records: list[Record] = []
    texts: dict[str, str] = {}
    for key, kind in kinds.items():
        file, problem = found[key]
        if kind is None or (key in captioned and kind == "text"):
            continue
        if problem:
            records.append(_set_aside(key, _modality(kind, recordings), f"{path / key}: {problem}"))
        elif kind in DOCUMENTS:
            records += _document(file, key, kind, aside)
        else:
            own, texts[key] = _media(file, key, kind, every, recordings, aside)
            records += own
    useless = aside | {key: problem for key, (_, problem) in found.items() if problem}
    if len(found) == len(useless):
        told = "".join(f"; set aside: {key}, {reason}" for key, reason in list(useless.items())[:3])
        raise BadInput(f"{path} holds no picture, recording, video or document at any depth{told}")
    readable = {key: found[key][0] for key, text in texts.items()}
    group = _groups(readable, texts)
    records = [replace(record, group=group.get(record.group, record.group)) for record in records]
    return DataSet(root.name or str(root), records, CARD, root, aside)


def open_picture(rest: str, root: Path | None) -> "Image.Image":
    """Return the picture at a path relative to `root`, or a video's frame; `BadInput` when it lies outside."""
    name, _, place = rest.rpartition("#t=")
    if (root is not None and (root / rest).is_file()) or not name:  # a name may have a # in it
        name, place = rest, ""
    file = _inside(name, root)
    return read_frame(file, float(place)) if place else read_picture(file)


def open_sound(rest: str, root: Path | None) -> Sound:
    """Return the recording at a path relative to `root`; `BadInput` when it lies outside."""
    return read_sound(_inside(rest, root))


def _inside(name: str, root: Path | None) -> Path:
    """Return the file that a path relative to `root` leads to, which is there and inside."""
    if root is None:
        raise BadInput(f"file:{name} is relative to the folder it came from: give that folder as root")
    file = (root / name).resolve()
    if not file.is_relative_to(root.resolve()):
        raise BadInput(f"file:{name} lies outside {root}")
    if not file.is_file():
        raise NotFound(f"{root / name}: the file is gone")
    return file


# ------------------------------------------------------------------ finding files


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield files with an empty string, and what looks like one but cannot be used with the reason."""
    for folder, folders, files in os.walk(root):  # links to folders are listed among `folders`, and not followed
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if (link := Path(folder, name)).is_symlink():
                yield link, "a link to a folder is not followed; name that folder, or copy it here"
        for name in files:
            if not name.startswith("."):
                yield Path(folder, name), _problem(Path(folder, name), root)


def _problem(file: Path, root: Path) -> str:
    try:
        str(file).encode()
        target = file.resolve(strict=True)
    except UnicodeEncodeError:
        return "the name of the file is not UTF-8; rename it"
    except (OSError, RuntimeError):  # RuntimeError: how Python 3.11 and 3.12 report a loop of links
        return "a link that leads nowhere"
    if not target.is_relative_to(root):
        return f"a link that leads out of the folder, to {target}; copy the file here"
    return "" if target.is_file() else "not a regular file"


def _kind(file: Path, problem: str, key: str, aside: dict[str, str]) -> str | None:
    """Return the kind of a file; None for one that no reader knows, which is noted."""
    if problem:  # what it leads to is not looked at
        return "text" if file.suffix.lower() in TEXTS else "image"
    try:
        kind = kind_of(file)
    except OSError as error:
        aside[key] = f"{file} cannot be opened ({error.strerror})"
        return None
    if kind is None:
        aside[key] = f"{file}: neither a picture, a recording, a video nor a document that is known"
    return kind


def _modality(kind: str, recordings: str) -> str:
    return recordings if kind == "sound" else "text" if kind in DOCUMENTS else "image"


def _key(file: Path, root: Path) -> str:
    return os.fsencode(file.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")


# ------------------------------------------------------------------ records


def _media(
    file: Path, key: str, kind: str, every: float, recordings: str, aside: dict[str, str]
) -> tuple[list[Record], str]:
    """Return the records of a picture, a recording or a video, and its text."""
    text, problem = _caption(file)
    common: dict[str, Any] = {"text": text or None}
    records: list[Record] = []
    if kind == "video":
        try:
            times = frame_times(file, every)
        except (BadInput, MissingExtra) as error:
            return [_set_aside(key, "image", str(error))], ""
        if not times:  # a container of sound alone
            return _media(file, key, "sound", every, recordings, aside)
        records += [
            Record(
                key=f"{key}#t={t:g}",
                modality="image",
                group=key,
                uri=f"file:{key}#t={t:g}",
                load=functools.partial(read_frame, file, t),
                digest=functools.partial(_digest, file, f"#t={t:g}"),
                **common,
            )
            for t in times
        ]
    else:
        read = read_sound if kind == "sound" else read_picture
        records.append(
            Record(
                key=key,
                modality=_modality(kind, recordings),
                uri=f"file:{key}",
                load=functools.partial(read, file),
                digest=functools.partial(_digest, file),
                **common,
            )
        )
    records.append(_set_aside(key, "text", problem) if problem else text_record(key, text, uri=f"file:{key}"))
    return records, text


def _document(file: Path, key: str, kind: str, aside: dict[str, str]) -> list[Record]:
    try:
        found = read_passages(file, kind)
    except MissingExtra as error:  # the other files can be read all the same
        aside[key] = str(error)
        return []
    except (BadInput, OSError) as error:
        return [_set_aside(key, "text", str(error))]
    return [text_record(f"{key}#{place}", text, group=key, uri=f"file:{key}#{place}") for place, text in found]


def _caption(file: Path) -> tuple[str, str]:
    """Return the text of a file and an empty string, or an empty text and what is wrong with it."""
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


def _digest(file: Path, place: str = "") -> str:
    """Return the SHA-256 of the file (and of a place in it); of the error where it cannot be read, as `load` says."""
    try:
        with file.open("rb") as opened:
            whole = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        return hashlib.sha256(str(error).encode()).hexdigest()
    return hashlib.sha256((whole + place).encode()).hexdigest() if place else whole


def _set_aside(key: str, modality: str, reason: str) -> Record:
    def load() -> NoReturn:
        raise BadInput(reason)

    def digest() -> str:
        return hashlib.sha256(reason.encode()).hexdigest()

    return Record(key=key, modality=modality, uri=f"file:{key}", load=load, digest=digest)
