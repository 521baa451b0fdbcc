"""Recordings as one channel of float32 samples."""

import io
from pathlib import Path
from typing import TypedDict

import numpy as np
from jaxtyping import Float32

from isthmus.core.errors import BadInput, MissingExtra

__all__ = ["MAX_SECONDS", "Sound", "decode_sound", "read_sound"]

MAX_SECONDS = 600
"""Longest recording that is decoded: a small file can unpack to hours of silence."""


class Sound(TypedDict):
    """Samples between −1 and 1 and how many of them make a second, as the audio encoders of other libraries take it."""

    array: Float32[np.ndarray, "samples"]
    sampling_rate: int


def decode_sound(content: bytes, name: str) -> Sound:
    """Return the recording in the content of a file, as `read_sound` does; `name` is for messages."""
    return _read(io.BytesIO(content), name)


def read_sound(path: str | Path) -> Sound:
    """Return the recording in an Ogg, WAV, FLAC, AIFF or MP3 file, its channels averaged, at its own rate.

    What soundfile does not know (M4A, AMR, the sound of a video) is read with PyAV where it is installed. Raises
    `BadInput` for a file that is missing, empty, unreadable or longer than `MAX_SECONDS`, and `MissingExtra` without
    soundfile.
    """
    if not Path(path).is_file():
        raise BadInput(f"{path}: the recording cannot be read (there is no such file)")
    return _read(path, str(path))


def _read(file: str | Path | io.BytesIO, path: str) -> Sound:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the package without the C library
        raise MissingExtra.of("soundfile", "audio", "reading recordings") from None
    try:
        with soundfile.SoundFile(file) as opened:
            rate = opened.samplerate
            samples = opened.read(MAX_SECONDS * rate + 1, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        if isinstance(file, io.BytesIO):
            file.seek(0)
        rate, samples = _by_ffmpeg(file, path, str(error))
    if not 0 < len(samples) <= MAX_SECONDS * rate:
        length = "is empty" if len(samples) == 0 else f"is longer than {MAX_SECONDS} s"
        raise BadInput(f"{path}: the recording {length}")
    return {"array": np.ascontiguousarray(samples.mean(axis=1, dtype=np.float32)), "sampling_rate": int(rate)}


def _by_ffmpeg(file: str | Path | io.BytesIO, path: str, reason: str) -> tuple[int, Float32[np.ndarray, "samples 1"]]:
    """Return the rate and the samples of a file that soundfile cannot read, for the `reason` that it gives."""
    try:
        import av
    except ImportError:
        raise BadInput(
            f"{path}: the recording cannot be read ({reason}); other formats need PyAV: pip install 'isthmus[video]'"
        ) from None
    parts: list[np.ndarray] = []
    try:
        with av.open(file if isinstance(file, io.BytesIO) else str(file), "r") as container:
            if not container.streams.audio:
                raise BadInput(f"{path}: there is no sound in it")
            stream = container.streams.audio[0]
            rate = int(stream.rate)
            mono = av.AudioResampler(format="flt", layout="mono", rate=rate)
            length = 0
            for frame in container.decode(stream):
                for part in mono.resample(frame):
                    parts.append(part.to_ndarray().reshape(-1))
                    length += len(parts[-1])
                if length > MAX_SECONDS * rate:
                    break
    except (av.error.FFmpegError, OSError) as error:
        raise BadInput(f"{path}: the recording cannot be read ({reason}; {error})") from error
    samples = np.concatenate(parts) if parts else np.empty(0, np.float32)
    return rate, samples.astype(np.float32)[:, None]
