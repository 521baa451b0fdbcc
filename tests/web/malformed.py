"""Two hundred requests that a server must refuse: each a name, a method, a path, a body and its headers."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from .served import png, uri, wav

AT = "/v1/collections/colours"
JSON = {"Content-Type": "application/json"}
PLAIN = {
    f"{AT}/search": {"text": "red", "k": 3},
    f"{AT}/upsert": {"items": [{"key": "a", "modality": "text", "text": "red"}]},
    f"{AT}/delete": {"ids": ["red|text|"]},
    "/v1/embeddings": {"model": "default", "input": ["red"]},
    "/v1/rerank": {"model": "default", "query": "red", "documents": ["a", "b"]},
    "/knn-service": {"text": "red", "num_images": 3},
}
WRONG = {
    "number": 7,
    "text": "wrong",
    "object": {"a": {"b": 1}},
    "list of lists": [[["a"]]],
    "true": True,
    "minus one": -1,
}
FITS = {("number", "k"), ("number", "num_images"), ("text", "text"), ("text", "query"), ("text", "input")}
"""Values of `WRONG` that are right where they are put."""


@dataclass(frozen=True)
class Case:
    name: str
    path: str
    body: bytes = b""
    headers: dict = field(default_factory=lambda: dict(JSON))
    method: str = "POST"


def said(name, path, body, **more):
    return Case(name, path, body if isinstance(body, bytes) else json.dumps(body).encode(), **more)


def cases() -> list[Case]:
    """Return all of them."""
    made = [*bodies(), *types(), *texts(), *vectors(), *filters(), *pictures(), *sounds(), *paths(), *kinds()]
    names = [case.name for case in made]
    assert len(set(names)) == len(names), sorted(n for n in names if names.count(n) > 1)
    return made


def bodies() -> Iterator[Case]:
    """Bodies that are cut, empty, no object, too deep, or too large."""
    for path, plain in PLAIN.items():
        whole = json.dumps(plain).encode()
        for share in (0.3, 0.6, 0.95):
            yield said(f"cut at {share}: {path}", path, whole[: int(share * len(whole))])
        for name, body in {"nothing": b"", "null": b"null", "a list": b"[]", "spaces": b"   "}.items():
            yield said(f"{name}: {path}", path, body)
        yield said(f"an empty object: {path}", path, b"{}")
    yield said("deep lists", f"{AT}/search", b'{"text": ' + b"[" * 200_000)
    yield said("deep objects", f"{AT}/search", b'{"text":' * 50_000 + b"1" + b"}" * 50_000)
    yield said("a number of 100,000 digits", f"{AT}/search", b'{"text": "red", "k": ' + b"9" * 100_000 + b"}")
    yield said("33 MB", f"{AT}/search", b'{"text": "' + b"a" * 33_000_000 + b'"}')
    yield said("a million documents", "/v1/rerank", {"query": "a", "documents": ["b"] * 1_000_000})
    yield said("a million texts", "/v1/embeddings", {"input": ["b"] * 1_000_000})
    yield said("a text of a million letters", "/v1/embeddings", {"input": "a" * 1_000_000})
    yield said("two thousand items", f"{AT}/upsert", {"items": [PLAIN[f"{AT}/upsert"]["items"][0]] * 2000})


def types() -> Iterator[Case]:
    """Fields of another type."""
    for path, plain in PLAIN.items():
        for name in plain:
            for kind, value in WRONG.items():
                if (kind, name) not in FITS and not (name == "model" and kind == "text"):
                    yield said(f"{name} is {kind}: {path}", path, {**plain, name: value})


def texts() -> Iterator[Case]:
    """Texts that are no UTF-8, or hold what no text holds."""
    for name, raw in {
        "a lone byte": b"\xff",
        "half a letter": b"\xc3",
        "overlong": b"\xc0\xaf",
        "a surrogate in UTF-8": b"\xed\xa0\x80",
        "UTF-16": "red".encode("utf-16"),
    }.items():
        yield said(f"{name} in a text", f"{AT}/search", b'{"text": "' + raw + b'"}')
    for path in (f"{AT}/search", "/knn-service"):
        yield said(f"half a surrogate pair: {path}", path, b'{"text": "\\ud800"}')
    yield said("half a pair among texts", "/v1/embeddings", b'{"input": ["a", "\\udfff"]}')
    for name in ("key", "variant"):
        item = {"key": "a", "modality": "text", "text": "red", name: "a\0b"}
        yield said(f"a NUL in the {name}", f"{AT}/upsert", {"items": [item]})


def vectors() -> Iterator[Case]:
    """Vectors that are none."""
    for name, written in {
        "NaN": "[NaN, 0, 0]",
        "infinity": "[Infinity, 0, 0]",
        "beyond 64 bits": "[1e999, 0, 0]",
        "beyond 32 bits": "[1e300, 0, 0]",
        "two numbers": "[1, 0]",
        "no number": "[]",
        "words": '["a", "b", "c"]',
        "nested": "[[1, 0, 0]]",
        "nulls": "[null, null, null]",
        "70,000 numbers": json.dumps([0.1] * 70_000),
    }.items():
        yield said(f"a vector: {name}", f"{AT}/search", f'{{"vector": {written}}}'.encode())
    item = '{"items": [{"key": "a", "modality": "text", "vector": %s}]}'
    for name, written in {"NaN": "NaN", "infinity": "-Infinity", "beyond 32 bits": "1e300"}.items():
        yield said(f"a vector to write: {name}", f"{AT}/upsert", (item % f"[{', '.join([written] * 8)}]").encode())


def filters() -> Iterator[Case]:
    """Filters that are programs, or that would take too long to read."""
    for name, where in {
        "a call": "__import__('os').system('true')",
        "an attribute": "key.__class__ == 'a'",
        "a comprehension": "[x for x in key] == 'a'",
        "a lambda": "(lambda: 1) == 1",
        "parentheses": "(" * 9000 + "key == 'a'" + ")" * 9000,
        "nots": "not " * 4000 + "key == 'a'",
        "minuses": "year == " + "-" * 15_000 + "1",
        "a power": "year == 9**9**9**9",
        "no end": "key == 'a",
        "a statement": "import os",
        "a NUL": "key == 'a'\0",
        "too long": "key == 'a' or " * 2000 + "key == 'a'",
        "an assignment": "(key := 'a') == 'a'",
        "nothing": "   ",
    }.items():
        yield said(f"a filter: {name}", f"{AT}/search", {"text": "red", "where": where})
        if len(where) < 100:
            yield said(f"a filter to delete by: {name}", f"{AT}/delete", {"where": where})


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(width: int, height: int, *, packed: bytes | None = None, before: bytes = b"") -> bytes:
    """Return a PNG that says it is so large, of one bit a pixel, all black: a few kB for gigapixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    if packed is None:
        squeeze, row = zlib.compressobj(9), bytes(width // 8 + 1)
        packed = b"".join(squeeze.compress(row) for _ in range(height)) + squeeze.flush()
    return b"\x89PNG\r\n\x1a\n" + head + before + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def zipped() -> bytes:
    """Return 200 MB of zeros as a zip file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.png", "w") as entry:
        for _ in range(200):
            entry.write(bytes(1_000_000))
    return file.getvalue()


def multipart(content: bytes, filename: str = "a.png") -> tuple[bytes, dict[str, str]]:
    """Return a form with one file, and its headers."""
    head = f'--edge\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'
    return head.encode() + content + b"\r\n--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge"}


def pictures() -> Iterator[Case]:
    """Pictures that are cut, that lie about their size, or that are none."""
    whole = png("red", (300, 200))
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000), 9))
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    broken = {
        "PNG, cut in the head": whole[:20],
        "PNG, cut in the pixels": whole[:60],
        "PNG, the head alone": whole[:8],
        "JPEG, the head alone": b"\xff\xd8\xff\xe0" + bytes(40),
        "GIF, the head alone": b"GIF89a" + bytes(4),
        "WebP, the head alone": b"RIFF" + bytes(4) + b"WEBPVP8 " + bytes(8),
        "PNG of 10 gigapixels": bomb(100_000, 100_000, packed=zlib.compress(bytes(1000))),
        "PNG of 100 megapixels": bomb(10_000, 10_000),
        "PNG of 2³¹ columns": bomb(2**31 - 1, 1, packed=b""),
        "PNG of no size": bomb(0, 0, packed=b""),
        "PNG with 80 MB of words": bomb(8, 8, before=text, packed=b""),
        "zip bomb": zipped(),
        "gzip": zlib.compress(whole, wbits=31),
        "SVG that shows a file": svg,
        "an empty file": b"",
        "HTML": b"<html><script>alert(1)</script></html>",
        "PDF": b"%PDF-1.7\n" + bytes(100),
        "a program": b"MZ" + bytes(200),
        "TIFF": b"II*\0" + bytes(100),
    }
    for name, content in broken.items():
        if content:
            yield said(f"asked with a picture: {name}", f"{AT}/search", {"image": uri(content)})
        body, headers = multipart(content)
        yield said(f"a picture sent: {name}", f"{AT}/upload", body, headers=headers)
    for name, text_ in {
        "an address": "http://169.254.169.254/latest/meta-data",
        "a file": "file:///etc/passwd",
        "no base64": "data:image/png;base64,@@@@",
        "not in base64": "data:image/png,abc",
        "nothing": "data:image/png;base64,",
    }.items():
        yield said(f"an image: {name}", f"{AT}/search", {"image": text_})
        part = {"type": "image_url", "image_url": {"url": text_}}
        yield said(f"an image_url: {name}", "/v1/embeddings", {"messages": [{"role": "user", "content": [part]}]})


def sounds() -> Iterator[Case]:
    """Recordings that are cut, or that lie about their length."""
    whole = wav("red")
    lying = whole[:40] + struct.pack("<I", 2**32 - 1)
    for name, content in {
        "WAV, the head alone": whole[:44],
        "WAV, cut in the head": whole[:20],
        "WAV that says 4 GB": lying,
        "Ogg, the head alone": b"OggS" + bytes(30),
        "FLAC, the head alone": b"fLaC" + bytes(38),
        "MP3, the head alone": b"ID3" + bytes(20),
        "a list of files": b"#EXTM3U\nfile:///etc/passwd\n",
        "a list that ffmpeg follows": b"ffconcat version 1.0\nfile /etc/passwd\n",
    }.items():
        yield said(f"asked with a recording: {name}", f"{AT}/search", {"sound": uri(content, "audio/wav")})
        body, headers = multipart(content, "a.wav")
        yield said(f"a recording sent: {name}", f"{AT}/upload", body, headers=headers)


def paths() -> Iterator[Case]:
    """Paths and names that lead elsewhere."""
    for way in (
        "/page/../../../etc/passwd",
        "/page/..%2f..%2fapp.py",
        "/page/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/page/....//app.py",
        "/page/%00index.html",
        "/page/index.html%00.css",
        "/../../etc/passwd",
        "//etc/passwd",
        "/v1/collections/../../etc/passwd",
        "/v1/collections/%2e%2e%2fcolours",
        "/v1/collections/%ff%fe",
        f"{AT}/content?id=../../index.json",
        f"{AT}/content?id=red|image|&size=100000",
        f"{AT}/content?id=red|image|&size=NaN",
        f"{AT}/content",
        f"{AT}/item?id=%00",
        "/v1/models/..%2f..",
    ):
        yield Case(f"GET {way}", way, method="GET", headers={})
    for name in ("../../x.png", "/etc/passwd", "..\\..\\x.png"):
        body, headers = multipart(b"MZ", name)
        yield said(f"a file called {name}", f"{AT}/upload", body, headers=headers)
    for link in ("file:red.png", "uploads:../index.json", "javascript:alert(1)", "openmoji:../../x"):
        item = {"key": "a", "modality": "text", "text": "red", "uri": link}
        yield said(f"an item that names {link}", f"{AT}/upsert", {"items": [item]})


def kinds() -> Iterator[Case]:
    """Content that is called something else, and methods that are not there."""
    for path, plain in PLAIN.items():
        if path == "/knn-service":  # its client does not say what it sends
            continue
        for kind in ("text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data"):
            yield said(f"{kind}: {path}", path, plain, headers={"Content-Type": kind})
        yield said(f"packed: {path}", path, plain, headers={**JSON, "Content-Encoding": "gzip"})
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        yield Case(f"{method} a search", f"{AT}/search", method=method)
    yield said("a form without its edge", f"{AT}/upload", b"abc", headers={"Content-Type": "multipart/form-data"})
    body, headers = multipart(png("red"))
    yield said("a form that is cut", f"{AT}/upload", body[:100], headers=headers)
    yield said("a form with 5,000 parts", f"{AT}/upload", body[: -len(b"--edge--\r\n")] * 5000 + body, headers=headers)
    yield said("a host of others", f"{AT}/search", PLAIN[f"{AT}/search"], headers={**JSON, "Host": "evil.example"})
    yield said("a site of others", f"{AT}/search", PLAIN[f"{AT}/search"], headers={**JSON, "Origin": "https://a.b"})
