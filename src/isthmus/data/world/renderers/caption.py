"""A description in English, French or German, with paraphrases, and with faults where the scene asks for them."""

from dataclasses import replace

import numpy as np

from isthmus.core.errors import BadInput
from isthmus.data.world.grammar import Fact, Mention, holds, matching, mention, say
from isthmus.data.world.scene import ATTRIBUTES, INVERSE, MAX_OBJECTS, Object, Scene
from isthmus.data.world.words import LANGUAGES

__all__ = ["KIND", "TITLE", "facts", "render", "show"]

TITLE, KIND = "caption", "text"
DETAILS = ("short", "full", "exact")


def render(scene: Scene, *, language: str = "en", variant: int = 0, detail: str = "full", clean: bool = False) -> str:
    """Return a description of a scene.

    ``full`` names every object with all its attributes, how many there are of each kind, and relations that tie them
    together; ``exact`` adds how many objects there are in all, so that nothing more can be there; ``short`` says one
    thing with shape and colour only. Each `variant` is a paraphrase: another order, other
    constructions and synonyms; variant 0 is the plain one. The `fault` of the scene is applied unless `clean`.
    """
    if detail not in DETAILS:
        raise BadInput(f"detail = {detail!r}; a caption is {', '.join(DETAILS[:-1])} or {DETAILS[-1]}")
    if scene.fault and not clean:
        return _faulty(scene, language, variant, detail)
    return say(facts(scene, detail=detail, variant=variant), language, _variants(scene, detail, variant))


def facts(scene: Scene, *, detail: str = "full", variant: int = 0) -> tuple[Fact, ...]:
    """Return what the caption of a variant says, without a language. All of it is true of the scene."""
    # a rank for each place in the list, so that one more object leaves the order of the others as it is
    ranks = scene.generator("facts", variant).random(MAX_OBJECTS + 1)
    order = np.argsort(ranks[: len(scene.objects)]).tolist()
    order += range(len(scene.objects), len(scene.entities))
    if detail == "short":
        return _short(scene, order)
    said: list[Fact] = []
    told: list[int] = []
    single = [i for i in order if not isinstance(one := scene.entities[i], Object) or scene.counts[one.kind] == 1]
    between = {(r.subject, r.object): r.name for r in scene.relations}
    if scene.figure is not None:
        person = len(scene.objects)
        said.append(Fact(mention(scene.figure), pose=True))
        told.append(person)
        single.remove(person)
    for i in single:
        tie = next((j for j in reversed(told) if (i, j) in between), None)
        if tie is None:
            # nothing told yet that it could be tied to: a pair of new ones, or it alone
            tie = next((j for j in single if j not in told and (i, j) in between), None)
        if i in told:
            continue
        if tie is None:
            said.append(Fact(mention(scene.entities[i])))
        else:
            said.append(Fact(mention(scene.entities[i]), between[i, tie], mention(scene.entities[tie])))
            told += [tie] if tie not in told else []
        told.append(i)
    said += [Fact(Mention(kind[3], kind[1], kind[0], kind[2], n)) for kind, n in scene.counts.items() if n > 1]
    if detail == "exact":
        said.append(Fact(Mention(count=len(scene.objects))))
    return tuple(said)


def show(scene: Scene, size: int) -> str:
    """Return the caption in three languages, and a paraphrase."""
    texts = [render(scene, language=language, clean=True) for language in LANGUAGES]
    return "\n".join([*texts, render(scene, variant=1, clean=True)])


def _short(scene: Scene, order: list[int]) -> tuple[Fact, ...]:
    def brief(i: int) -> Mention:
        one = scene.entities[i]
        return Mention(one.shape, one.colour) if isinstance(one, Object) else mention(one)

    for r in sorted(scene.relations, key=lambda r: (order.index(r.subject), order.index(r.object))):
        if brief(r.subject) != brief(r.object):
            return (Fact(brief(r.subject), r.name, brief(r.object)),)
    first = brief(order[0])
    return (Fact(replace(first, count=len(matching(scene, first)))),)


def _variants(scene: Scene, detail: str, variant: int) -> list[int]:
    """Return how each sentence is said; a number is drawn only where there is a choice."""
    return [] if variant == 0 else scene.generator("caption", detail, variant).integers(0, 64, 10).tolist()


def _faulty(scene: Scene, language: str, variant: int, detail: str) -> str:
    """Return a caption with the scene's fault. What is said wrong is checked to be wrong."""
    rng = scene.generator("fault", detail, variant)
    variants = _variants(scene, detail, variant)
    said = list(facts(scene, detail=detail, variant=variant))
    if scene.fault == "other scene":
        from isthmus.data.world.sampling import sample  # the stream decides which scenes there are

        other = sample(scene.seed + 1, scene.index)
        return render(other, language=language, variant=variant, detail=detail)
    if scene.fault == "wrong relation" and (i := next((i for i, f in enumerate(said) if f.relation), None)) is not None:
        said[i] = replace(said[i], relation=INVERSE[said[i].relation or ""])
        if not holds(scene, said[i]):
            return say(said, language, variants)
    if scene.fault in ("wrong attribute", "wrong relation"):
        return say(_one_wrong(scene, said, rng), language, variants)
    text = render(scene, language=language, variant=variant, detail=detail, clean=True)
    words = text.split()
    if scene.fault == "boilerplate":
        return f"IMG_{int(rng.integers(1000, 9999))}.jpg"
    if scene.fault == "truncated":
        return " ".join(words[: max(1, len(words) // 3)])
    content = sorted({word.strip(".,").lower() for word in words})
    return ", ".join(content[i] for i in rng.permutation(len(content))[:6])


def _one_wrong(scene: Scene, said: list[Fact], rng: np.random.Generator) -> list[Fact]:
    """Change one attribute of a thing everywhere it is told of, so that no sentence about it stays true."""
    old = next((f.subject for f in said if f.subject.person is None), None)
    if old is None:  # only a person: it wears another colour
        person = said[0].subject.person
        assert person is not None
        colour = next(c for c in ATTRIBUTES["colour"] if c != person.shirt)
        return [replace(f, subject=replace(f.subject, person=replace(person, shirt=colour))) for f in said]
    choices = [(name, value) for name, known in ATTRIBUTES.items() for value in known if getattr(old, name) is not None]
    for i in rng.permutation(len(choices)):
        name, value = choices[i]
        new = replace(old, **{name: value})
        if not matching(scene, new):
            return [
                replace(f, subject=new if f.subject == old else f.subject, object=new if f.object == old else f.object)
                for f in said
            ]
    raise AssertionError("a scene holds fewer kinds than there are")
