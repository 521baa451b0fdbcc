"""Small real files of every kind that a folder may hold, made for tests and shown things."""

import wave
from pathlib import Path

import numpy as np
from PIL import Image

RATE = 16_000


def picture(path, colour=(200, 30, 30), size=(40, 30), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)


def recording(path, hertz=440.0, seconds=1.0):
    t = np.arange(int(RATE * seconds)) / RATE
    samples = (0.4 * np.sin(2 * np.pi * hertz * t) * 32767).astype("<i2")
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())


def video(path, colours=((255, 0, 0), (0, 255, 0), (0, 0, 255)), seconds=2, rate=5, size=(64, 48), sound=False):
    """A video that shows each colour for some seconds."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        track = container.add_stream("aac", rate=RATE) if sound else None
        for colour in colours:
            for _ in range(seconds * rate):
                picture = Image.new("RGB", size, colour)
                container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
        if track is not None:
            _beep(container, track)


def coded_recording(path, codec="aac", seconds=1):
    """A recording that soundfile does not know."""
    import av

    with av.open(str(path), "w") as container:
        _beep(container, container.add_stream(codec, rate=RATE), seconds)


def _beep(container, track, seconds=1):
    import av

    samples = (0.3 * np.sin(np.arange(RATE * seconds) / 9)).astype(np.float32)[None]
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate = RATE
    container.mux(track.encode(frame))
    container.mux(track.encode())


def pdf(path, pages):
    """A PDF of plain pages, written by hand: each text on a page of its own."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    kids = []
    for text in pages:
        lines = [text[i : i + 80] for i in range(0, len(text), 80)]
        shown = "\n".join(f"({line}) Tj T*" for line in lines)
        stream = f"BT /F1 11 Tf 14 TL 50 750 Td\n{shown}\nET"
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        content = len(objects)
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents {content} 0 R "
            "/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{place:010d} 00000 n \n".encode() for place in places)
    out += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(out)
