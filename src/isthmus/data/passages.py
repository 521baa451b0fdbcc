"""Documents as passages: pieces of text short enough for an encoder of sentences, each with its place.

A passage is some whole paragraphs, about `WORDS` words of them; a paragraph that is longer is cut at the ends of
sentences, or between words where there are none.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from isthmus.core.errors import BadInput, MissingExtra

__all__ = ["MAX_BYTES", "passages_of", "read_passages"]

WORDS = 150
MAX_BYTES = 50_000_000
"""Largest document that is read."""
MAX_PAGES = 5_000
BLOCKS = ("p", "div", "li", "tr", "br", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "section")
"""Elements of HTML after which something new begins."""


def read_passages(path: Path, kind: str) -> list[tuple[str, str]]:
    """Return [(place, text)] of a file of the kind "text", "markdown", "html" or "pdf", in reading order.

    A place is ``passage=2``, or ``page=3&passage=2`` where there are pages. Raises `BadInput` for a file that is
    empty, too large, not UTF-8 or damaged, and `MissingExtra` without the package that reads its kind.
    """
    if (size := path.stat().st_size) > MAX_BYTES:
        raise BadInput(
            f"{path}: a document of {size / 1e6:.0f} MB is more than the {MAX_BYTES // 10**6} MB that are read"
        )
    if kind == "pdf":
        found = [
            (f"page={page}&passage={i}", text)
            for page, words in _pages(path)
            for i, text in enumerate(passages_of(words), start=1)
        ]
    else:
        readers: dict[str, Callable[[str], str]] = {"text": str, "markdown": _plain, "html": _visible}
        text = readers[kind](_decoded(path))
        found = [(f"passage={i}", passage) for i, passage in enumerate(passages_of(text), start=1)]
    if not found:
        hint = " (scanned pages have no text; recognise it first)" if kind == "pdf" else ""
        raise BadInput(f"{path}: there is no text in it{hint}")
    return found


def passages_of(text: str, words: int = WORDS) -> list[str]:
    """Return a text as passages of about `words` words, white space made single."""
    passages: list[str] = []
    held: list[str] = []
    for piece in _pieces(text, words):
        own = piece.split()
        if held and len(held) + len(own) > words:
            passages.append(" ".join(held))
            held = []
        held += own
    return [*passages, " ".join(held)] if held else passages


def _pieces(text: str, words: int) -> Iterator[str]:
    """Yield paragraphs; of a long one its sentences; of a long sentence runs of words."""
    for paragraph in re.split(r"\n\s*\n", text):
        if len(paragraph.split()) <= words:
            yield paragraph
            continue
        for sentence in re.split(r"(?<=[.!?。！？])\s+", paragraph):
            own = sentence.split()
            for start in range(0, len(own), words):
                yield " ".join(own[start : start + words])


def _decoded(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error


def _plain(markdown: str) -> str:
    """Return Markdown without what is for the eye alone: marks of headings, targets of links, rules."""
    text = re.sub(r"(?m)^\s{0,3}(#{1,6}\s+|>\s?|```.*$|[-*_]{3,}\s*$)", "", markdown)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"(\*\*|__|`)", "", text)


def _visible(html: str) -> str:
    """Return the text of a page as a reader sees it, blocks apart."""
    try:
        from bs4 import BeautifulSoup
    except ImportError:
        raise MissingExtra.of("beautifulsoup4", "documents", "reading HTML") from None
    soup = BeautifulSoup(html, "html.parser")
    for hidden in soup(["script", "style", "template", "noscript", "nav"]):
        hidden.decompose()
    for block in soup(
        ["p", "div", "li", "tr", "br", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "section"]
    ):
        block.append("\n\n")
    return soup.get_text()


def _pages(path: Path) -> list[tuple[int, str]]:
    """Return the number and the text of every page of a PDF."""
    try:
        import pypdf
    except ImportError:
        raise MissingExtra.of("pypdf", "documents", "reading PDF") from None
    try:
        with path.open("rb") as file:
            reader = pypdf.PdfReader(file)
            if reader.is_encrypted and not reader.decrypt(""):
                raise BadInput(f"{path}: the PDF asks for a password; save it without one")
            if len(reader.pages) > MAX_PAGES:
                raise BadInput(f"{path}: {len(reader.pages)} pages are more than the {MAX_PAGES} that are read")
            return [(number, page.extract_text()) for number, page in enumerate(reader.pages, start=1)]
    except BadInput:
        raise
    except Exception as error:  # a damaged PDF fails in pypdf with whatever its parser stumbles over
        raise BadInput(f"{path}: the PDF cannot be read ({error or type(error).__name__})") from error
