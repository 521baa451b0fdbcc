"""Texts in more languages than the data has: names that Unicode has translated, or a translation model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from isthmus.core.errors import BadInput, MissingExtra

__all__ = ["Translate", "emoji_names", "m2m100", "translated", "unrepeated"]

Translate = Callable[[Sequence[str], str, str], list[str]]
"""From texts, their language and another language (ISO 639-1) to the same texts there."""


def translated(
    captions: Sequence[Mapping[str, str]], languages: Sequence[str], translate: Translate, *, batch: int = 32
) -> tuple[np.ndarray, np.ndarray]:
    """Return the texts (n, K) of captions {language: text}, and (n, K) which of them a model wrote.

    What a caption has is kept; what it lacks is translated from the first of `languages` that it has, else from any.
    A text that an item has in two languages letter for letter is in the table twice: `unrepeated` tells.

    Raises `BadInput` for a caption without any text, or a translation that does not give one text each.
    """
    if not languages or len(set(languages)) != len(languages):
        raise BadInput(f"languages must be at least one, all different: {list(languages)}")
    table = np.empty((len(captions), len(languages)), dtype=object)
    written = np.zeros(table.shape, dtype=bool)
    wanted: dict[tuple[str, str], list[int]] = {}
    for i, caption in enumerate(captions):
        if not (has := [code for code in (*languages, *caption) if caption.get(code, "").strip()]):
            raise BadInput(f"caption {i} has no text in any language")
        for j, code in enumerate(languages):
            table[i, j] = caption.get(code, "").strip()
            if not table[i, j]:
                written[i, j] = True
                wanted.setdefault((has[0], code), []).append(i)
    for (source, target), rows in wanted.items():
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            found = translate([captions[i][source].strip() for i in part], source, target)
            if len(found) != len(part):
                raise BadInput(f"{len(found)} translations for {len(part)} texts from {source} to {target}")
            for i, said in zip(part, found, strict=True):
                table[i, languages.index(target)] = said
    return table.astype(str), written


def unrepeated(texts: np.ndarray) -> np.ndarray:
    """Return (n, K) True where no earlier language of the item says the same, letters in any case.

    A name that two languages share would be two positives of one text.
    """
    folded = [[said.casefold() for said in row] for row in texts.tolist()]
    return np.array([[said not in row[:j] for j, said in enumerate(row)] for row in folded])


def emoji_names(texts: Sequence[str], source: str, target: str) -> list[str]:
    """Translate names of emoji by Unicode's CLDR, which has them in every language; nothing is fetched.

    Raises `BadInput` for a text that names no emoji in the source language.
    """
    from isthmus import data

    names: dict[str, dict[str, str]] = {}
    for record in data.load("openmoji").of("text"):
        names.setdefault(record.variant, {})[record.key] = record.text or ""
    if missing := [code for code in (source, target) if code not in names]:
        raise BadInput(f"there are no names in {missing[0]!r}; there are {', '.join(sorted(names))}")
    keys = {name: key for key, name in names[source].items()}
    if unknown := [text for text in texts if text not in keys]:
        raise BadInput(f"{unknown[0]!r} names no emoji in {source!r}")
    return [names[target][keys[text]] for text in texts]


def m2m100(name: str = "facebook/m2m100_418M", *, device: str = "cpu", longest: int = 80) -> Translate:
    """Return a translator by a model of the M2M-100 family of transformers, by name on the hub or a folder.

    The weights are fetched by that package on first use, which needs a connection. Raises `MissingExtra` without it,
    and, when called, `BadInput` for a language that the model does not know.
    """
    try:
        from transformers import M2M100ForConditionalGeneration, M2M100Tokenizer
    except ImportError:
        raise MissingExtra.of("transformers", "backbones", f"the translation model {name}") from None
    tokenizer = M2M100Tokenizer.from_pretrained(name)
    model: Any = M2M100ForConditionalGeneration.from_pretrained(name)
    model.to(device).eval()

    def translate(texts: Sequence[str], source: str, target: str) -> list[str]:
        known = tokenizer.lang_code_to_token
        if missing := [code for code in (source, target) if code not in known]:
            raise BadInput(f"{name} does not know the language {missing[0]!r}")
        tokenizer.src_lang = source
        asked = tokenizer(list(texts), return_tensors="pt", padding=True, truncation=True, max_length=longest)
        made = model.generate(**asked.to(device), forced_bos_token_id=tokenizer.get_lang_id(target), max_length=longest)
        return list(tokenizer.batch_decode(made, skip_special_tokens=True))

    return translate
