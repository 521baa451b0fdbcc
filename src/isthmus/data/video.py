"""Video as pictures: one frame every few seconds, each decoded when it is asked for."""

from pathlib import Path
from typing import Any

from PIL import Image

from isthmus.core.errors import BadInput, MissingExtra
from isthmus.data.picture import SIDE

__all__ = ["EVERY", "MAX_FRAMES", "frame_times", "read_frame"]

EVERY = 2.0
"""Seconds between two frames."""
MAX_FRAMES = 20_000


def frame_times(path: Path, every: float = EVERY) -> list[float]:
    """Return the times in seconds at which a video is looked at: 0, `every`, … up to its end; none without a picture.

    Raises `BadInput` for a file that cannot be read or is endless, `MissingExtra` without PyAV.
    """
    if not every > 0:
        raise BadInput(f"every = {every}: frames are some seconds apart")
    with _opened(path) as container:
        if not container.streams.video:
            return []
        stream = container.streams.video[0]
        if stream.duration is not None and stream.time_base is not None:
            length = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            length = container.duration / 1_000_000
        else:  # a recording that was cut off does not know how long it is
            length = max(
                (float(p.pts * p.time_base) for p in container.demux(stream) if p.pts is not None), default=0.0
            )
    count = max(1, -int(-length // every))
    if count > MAX_FRAMES:
        raise BadInput(f"{path}: {length / 3600:.1f} hours are {count} frames, more than {MAX_FRAMES}; cut the video")
    return [round(i * every, 3) for i in range(count)]


def read_frame(path: Path, seconds: float) -> Image.Image:
    """Return the frame that is shown at a time: RGB, its longest side at most `SIDE`.

    Raises `BadInput` for a file that cannot be read or ends before, `MissingExtra` without PyAV.
    """
    with _opened(path) as container:
        stream = container.streams.video[0]
        first = stream.start_time or 0
        container.seek(first + int(seconds / stream.time_base), stream=stream)  # to the key frame before it
        shown = None
        for frame in container.decode(stream):
            if (
                shown is not None
                and frame.time is not None
                and frame.time - float(first * stream.time_base) > seconds + 1e-3
            ):
                break
            shown = frame
        if shown is None:
            raise BadInput(f"{path}: no frame at {seconds:g} s")
        picture: Image.Image = shown.to_image()
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
    return picture


class _opened:
    """An open container; what goes wrong while it is open is told of the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            import av
        except ImportError:
            raise MissingExtra.of("av", "video", "reading video") from None
        try:
            self.container: Any = av.open(str(path))
        except (av.error.FFmpegError, OSError) as error:
            raise BadInput(f"{path}: the video cannot be read ({error})") from error

    def __enter__(self) -> Any:
        return self.container

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.container.close()
        if error is not None and not isinstance(error, BadInput) and isinstance(error, Exception):
            raise BadInput(f"{self.path}: the video cannot be read ({error or type(error).__name__})") from error
