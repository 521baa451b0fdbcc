"""Expressions that refer to one entity each: by its attributes, or by where it stands."""

from dataclasses import dataclass

from isthmus.data.world.reference import expression
from isthmus.data.world.scene import Scene
from isthmus.data.world.words import known

__all__ = ["KIND", "TITLE", "Expression", "render", "show"]

TITLE, KIND = "referring expressions", "text"


@dataclass(frozen=True)
class Expression:
    """Words that fit `entity` and no other, by its ``attributes`` or by a ``relation``."""

    text: str
    entity: int
    by: str


def render(scene: Scene, *, language: str = "en", variant: int = 0) -> list[Expression]:
    """Return the expressions for every entity that can be told from the others."""
    known(language)
    found = []
    for i in range(len(scene.entities)):
        for by in ("attributes", "relation"):
            text = expression(scene, i, language, words=variant, related=by == "relation")
            if text is not None:
                found.append(Expression(text, i, by))
    return found


def show(scene: Scene, size: int) -> str:
    """Return the expressions with the numbers of the entities."""
    return "\n".join(f"{e.entity}: {e.text}" for e in render(scene))
