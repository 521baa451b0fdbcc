from collections import Counter

import pytest

from isthmus.core.errors import BadInput, NotFound
from isthmus.data import world
from isthmus.data.world.grammar import Fact, Mention, holds, matching, noun_phrase, relative, say
from isthmus.data.world.negatives import KINDS
from isthmus.data.world.reading import read, slots
from isthmus.data.world.renderers import caption, questions, statement
from isthmus.data.world.scene import COLOURS, MATERIALS, SHAPES, SIZES, Figure, Object, Scene
from isthmus.data.world.words import LANGUAGES

MIXED = world.Knobs(person=0.4, twins=0.25)
SCENES = list(world.scenes(11, 120, knobs=MIXED))
DATIVE = {"case": "dat"}
PERSON = Figure("waving", "orange", "skirt", "green", "hat", "grey", 0.0, 0.0)


@pytest.mark.parametrize(
    ("said", "options", "expected"),
    [
        (Mention("cube", "orange"), {}, ("an orange cube", "un cube orange", "ein orangefarbener Würfel")),
        (
            Mention("sphere", "green", "large", "glass"),
            {},
            ("a large green glass sphere", "une grande sphère verte en verre", "eine große grüne Kugel aus Glas"),
        ),
        (
            Mention("cross", "grey", "small", "wood", 3),
            {},
            (
                "three small grey wooden crosses",
                "trois petites croix grises en bois",
                "drei kleine graue Kreuze aus Holz",
            ),
        ),
        (Mention("ring"), {"definite": True}, ("the ring", "l'anneau", "der Ring")),
        (Mention("object", "red"), {"definite": True}, ("the red object", "l'objet rouge", "der rote Gegenstand")),
        (Mention("cube", "red"), {"case": "acc"}, ("a red cube", "un cube rouge", "einen roten Würfel")),
        (Mention("cross", "red"), {"case": "dat"}, ("a red cross", "une croix rouge", "einem roten Kreuz")),
        (
            Mention("pyramid", "red", count=2),
            DATIVE,
            ("two red pyramids", "deux pyramides rouges", "zwei roten Pyramiden"),
        ),
        (Mention("cube", "blue", count=2), DATIVE, ("two blue cubes", "deux cubes bleus", "zwei blauen Würfeln")),
        (
            Mention("sphere", "blue"),
            {**DATIVE, "definite": True},
            ("the blue sphere", "la sphère bleue", "der blauen Kugel"),
        ),
        (
            Mention(person=PERSON),
            {},
            (
                "a person in an orange shirt, a green skirt and a grey hat",
                "une personne en chemise orange, jupe verte et chapeau gris",
                "eine Person in orangefarbenem Hemd, grünem Rock und grauem Hut",
            ),
        ),
        (Mention(person=PERSON), {"definite": True, "case": "dat"}, ("the person", "la personne", "der Person")),
    ],
)
def test_descriptions(said, options, expected):
    assert tuple(noun_phrase(said, language, **options) for language in LANGUAGES) == expected


def test_french_contracts():
    assert relative("left of", "le cube", "fr") == "à gauche du cube"
    assert relative("left of", "un cube", "fr") == "à gauche d'un cube"
    assert relative("right of", "l'anneau", "fr") == "à droite de l'anneau"
    assert relative("behind", "le cube", "fr") == "derrière le cube"


def test_a_sentence_in_each_language():
    fact = Fact(Mention("cube", "red"), "left of", Mention("ring", "blue"))
    assert [say([fact, Fact(Mention("cube", "red"), "behind", Mention("cone"))], x) for x in LANGUAGES] == [
        "A red cube is to the left of a blue ring. The red cube is behind a cone.",
        "Un cube rouge est à gauche d'un anneau bleu. Le cube rouge est derrière un cône.",
        "Ein roter Würfel ist links von einem blauen Ring. Der rote Würfel ist hinter einem Kegel.",
    ]


@pytest.mark.parametrize("detail", ["full", "short", "exact"])
def test_captions_are_true(detail):
    for scene in SCENES:
        for variant in range(3):
            assert all(holds(scene, fact) for fact in caption.facts(scene, detail=detail, variant=variant))


def test_full_captions_name_everything():
    for scene in SCENES:
        said = slots(world.render("caption", scene))
        whole = Counter({key[1:]: n for key, n in said.items() if key[0] == "whole"})
        assert whole == Counter((o.shape, o.size, o.colour, o.material) for o in scene.objects)
        if scene.figure is not None:
            assert said["person", "pose", scene.figure.pose] == 1
            assert said["person", "shirt", scene.figure.shirt] == 1
            assert said["person", scene.figure.legs, scene.figure.legs_colour] == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_languages_and_readers_agree(language):
    """What is read from a caption in any language is what is read from the English one."""
    for scene in SCENES:
        for variant in (0, 1, 5):
            here = slots(world.render("caption", scene, language=language, variant=variant), language)
            assert here == slots(world.render("caption", scene, variant=variant)), (variant, scene.index)


@pytest.mark.parametrize("language", LANGUAGES)
def test_paraphrases_differ_and_say_the_same(language):
    for scene in SCENES[:40]:
        texts = [world.render("caption", scene, language=language, variant=v) for v in range(12)]
        assert len(set(texts)) > (1 if len(scene.entities) == 1 else 2)
        things = {tuple(sorted((k, n) for k, n in slots(t, language).items() if k[0] == "whole")) for t in texts}
        assert len(things) == 1


def test_reading_forgives():
    assert read("").things == [] and slots("!!! nothing of the kind") == Counter()
    assert slots("cube cube red")["cube",] == 2
    assert slots("a red quantum cube near there")["cube", "colour", "red"] == 1
    swapped = slots("A red cube is to the left of a blue cube."), slots("A blue cube is to the left of a red cube.")
    assert swapped[0] == swapped[1], "slots of pairs of alike shapes do not tell left from right by colour"
    one, other = slots("A large red cube. A small blue cube."), slots("A small red cube. A large blue cube.")
    assert one != other, "but whole descriptions tell which attributes go together"


@pytest.mark.parametrize("kind", KINDS)
def test_negatives_are_exact(kind):
    made = 0
    for scene in world.scenes(13, 150, knobs=MIXED):
        other = world.negative(scene, kind)
        if other is None:
            continue
        made += 1
        assert not all(holds(scene, fact) for fact in caption.facts(other)), "its caption is false of the scene"
        assert not all(holds(other, fact) for fact in caption.facts(scene, detail="exact")), "and the other way round"
        assert all(holds(other, fact) for fact in caption.facts(other))
        assert world.render("caption", scene) != world.render("caption", other)
        assert (world.render("picture", scene, size=32) != world.render("picture", other, size=32)).any()
        before, after = (Counter(o.kind for o in s.objects) for s in (scene, other))
        if kind == "relation swap":
            assert before == after
        if kind == "attribute swap":
            assert len(scene.objects) == len(other.objects)
            assert sorted((o.x, o.y) for o in scene.objects) == sorted((o.x, o.y) for o in other.objects)
            for name in ("colour", "material", "shape", "size"):
                assert Counter(getattr(o, name) for o in scene.objects) == Counter(
                    getattr(o, name) for o in other.objects
                )
        if kind == "count":
            assert set(before) == set(after) and abs(before.total() - after.total()) == 1
        if kind == "insertion":
            assert after.total() == before.total() + 1 and len(after) == len(before) + 1
        assert world.negative(scene, kind) == other
    assert made > 100, made
    with pytest.raises(NotFound, match="unknown kind of negative"):
        world.negative(SCENES[0], "swap")


@pytest.mark.parametrize("language", LANGUAGES)
def test_expressions_refer_to_one_thing(language):
    for scene in SCENES[:60]:
        for said in world.render("referring", scene, language=language):
            found = read(said.text, language)
            thing = found.things[0]
            if thing["noun"] == "person":
                assert said.entity == len(scene.objects)
                continue
            fits = matching(scene, described(thing))
            if said.by == "attributes":
                assert fits == [said.entity]
            else:
                (i, name, j) = found.relations[0]
                other = found.things[j]
                anchor = [len(scene.objects)] if other["noun"] == "person" else matching(scene, described(other))
                related = {r.subject for r in scene.relations if r.name == name and [r.object] == anchor}
                assert i == 0 and related & set(fits) == {said.entity}, said


def described(thing):
    """What was read of an object as a description."""
    words = (thing.get(key) for key in ("noun", "colour", "size", "material"))
    return Mention(*(None if word == "object" else word for word in words))


def test_questions_have_their_answers():
    asked = Counter()
    for scene in world.scenes(5, 300, knobs=MIXED):
        for q in world.render("questions", scene):
            asked[q.kind, q.answer] += 1
            assert q.answer in questions.ANSWERS
            thing = next(iter(read(q.text.rstrip("?") + ".").things), {})
            said = Mention(
                *(None if thing.get(k) == "object" else thing.get(k) for k in ("noun", "colour", "size", "material"))
            )
            fits = matching(scene, said)
            if q.kind == "exists":
                assert (q.answer == "yes") == bool(fits)
            elif q.kind == "count":
                assert int(q.answer) == len(fits)
            elif q.kind in ("colour", "size", "material", "shape"):
                assert [getattr(scene.entities[i], q.kind) for i in fits] == [q.answer], q
    for kind in ("exists", "relation", "same colour"):
        yes, no = asked[kind, "yes"], asked[kind, "no"]
        assert yes / (yes + no) == pytest.approx(0.5, abs=0.1), kind
    assert len({kind for kind, _ in asked}) == len(questions.KINDS)


def test_questions_agree_between_languages():
    for scene in SCENES[:30]:
        english = [(q.kind, q.answer) for q in world.render("questions", scene)]
        for language in ("fr", "de"):
            assert [(q.kind, q.answer) for q in world.render("questions", scene, language=language)] == english


def test_statements_are_true_of_one_pair_and_false_of_the_other():
    kinds = Counter()
    for scene in SCENES:
        found = world.render("statement", scene)
        kinds[found.kind] += 1
        assert found.true != found.false and scene in (*found.true, *found.false)
        things = read(found.text).things
        said = [described(thing) for thing in things]
        for pair, truth in ((found.true, True), (found.false, False)):
            left, right = ([len(matching(s, m)) for m in said] for s in pair)
            if found.kind == "more left":
                assert (left[0] > right[0]) == truth
            elif found.kind == "both":
                assert (left[0] > 0 and right[0] > 0) == truth
            elif found.kind == "only one":
                assert ((left[0] > 0) != (right[0] > 0)) == truth
            elif found.kind == "total":
                assert (left[0] + right[0] == int(things[0].get("number", "1"))) == truth
            elif found.kind == "left right":
                assert (left[0] > 0 and right[1] > 0) == truth
            else:
                assert (len(pair[0].objects) == len(pair[1].objects)) == truth
    assert set(kinds) == set(statement.KINDS)


def test_stories_say_what_happens():
    changes = Counter()
    for scene in SCENES[:60]:
        story = world.render("story", scene, steps=4)
        assert story.scenes[0] == scene and len(story.texts) == len(story.scenes) == len(story.steps) + 1
        for before, after, step, text in zip(
            story.scenes, story.scenes[1:], story.steps, story.texts[1:], strict=False
        ):
            changes[step.change, text.startswith("It ")] += 1
            if step.change == "recoloured":
                assert after.objects[step.entity].colour in text
                assert len(after.objects) == len(before.objects)
            elif step.change == "leaves":
                assert len(after.objects) == len(before.objects) - 1
            elif step.change == "appears":
                assert after.objects[step.entity].shape in text and len(after.objects) == len(before.objects) + 1
            else:
                assert after.objects[step.entity].x != before.objects[step.entity].x
    assert {change for change, _ in changes} == {"appears", "leaves", "recoloured", "moves"}
    assert sum(n for (_, it), n in changes.items() if it) > 20, "it is called it"
    with pytest.raises(BadInput, match="steps = 0"):
        world.render("story", SCENES[0], steps=0)


def test_errors():
    with pytest.raises(NotFound, match="unknown language of the world 'es'"):
        world.render("caption", SCENES[0], language="es")
    with pytest.raises(BadInput, match="detail = 'long'; a caption is short, full or exact"):
        world.render("caption", SCENES[0], detail="long")


def test_every_kind_can_be_said_and_read():
    for shape in SHAPES:
        for colour in COLOURS:
            for size in SIZES:
                for material in MATERIALS:
                    scene = Scene(0, 0, (Object(shape, colour, size, material, 0.0, 0.0),))
                    for language in LANGUAGES:
                        said = slots(world.render("caption", scene, language=language), language)
                        assert said["whole", shape, size, colour, material] == 1
