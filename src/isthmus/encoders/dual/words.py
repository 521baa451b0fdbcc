"""The tokenizer of the texts: byte-pair encoding over bytes, trained on the texts that the encoder learns from.

Every text has tokens, in any script, because the alphabet is that of bytes. Texts are brought to one form first
(NFKC) and to lower case.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from isthmus.core.errors import BadInput, MissingExtra

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["ids_of", "read", "train_tokenizer"]

PAD = "[PAD]"


def train_tokenizer(texts: Sequence[str], *, vocabulary: int) -> "Tokenizer":
    """Return a tokenizer with at most `vocabulary` tokens; number 0 is no token.

    Raises `BadInput` for a vocabulary too small for the 256 bytes, `MissingExtra` without the package `tokenizers`.
    """
    if vocabulary < 300:
        raise BadInput(f"vocabulary = {vocabulary}; the bytes alone are 256 tokens, so at least 300 are needed")
    _available()
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(texts), trainer)
    return tokenizer


def ids_of(tokenizer: "Tokenizer", texts: Sequence[str], *, longest: int) -> Int[np.ndarray, "n t"]:
    """Return token numbers, each text cut at `longest` and filled up with 0 to the longest of them."""
    found = [one.ids[:longest] for one in tokenizer.encode_batch(list(texts))]
    ids = np.zeros((len(found), max(map(len, found), default=1)), np.int64)
    for row, one in zip(ids, found, strict=True):
        row[: len(one)] = one
    return ids


def read(path: Path) -> "Tokenizer":
    """Return the tokenizer in a file; `BadInput` for one that cannot be read."""
    _available()
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the package raises its own, without a class of their own
        raise BadInput(f"{path} cannot be read as a tokenizer: {error}") from error


def _available() -> None:
    if importlib.util.find_spec("tokenizers") is None:
        raise MissingExtra.of("tokenizers", "train", "the small dual encoder")
