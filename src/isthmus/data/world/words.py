"""The words for what is in a scene, in English, French and German: one record a language, no grammar.

Nouns stand as singular, plural and gender, French adjectives in their four forms, German ones as stems. The first
noun of a shape is the usual one, further ones are synonyms that no other shape shares.
"""

from typing import NamedTuple

from isthmus.core.errors import NotFound

__all__ = ["COLOUR", "GARMENT", "LANGUAGES", "MATERIAL", "NOUN", "NUMBERS", "POSE", "RELATION", "SIZE", "Noun", "known"]

LANGUAGES = ("en", "fr", "de")


class Noun(NamedTuple):
    """A noun: singular, plural, gender (m, f or n)."""

    one: str
    many: str
    gender: str = "n"


def known(language: str) -> str:
    """Return the language, or raise `NotFound`."""
    if language not in LANGUAGES:
        raise NotFound.named("language of the world", language, LANGUAGES)
    return language


NOUN: dict[str, dict[str, tuple[Noun, ...]]] = {
    "en": {
        "sphere": (Noun("sphere", "spheres"), Noun("ball", "balls")),
        "cube": (Noun("cube", "cubes"), Noun("block", "blocks")),
        "cylinder": (Noun("cylinder", "cylinders"), Noun("drum", "drums")),
        "cone": (Noun("cone", "cones"),),
        "pyramid": (Noun("pyramid", "pyramids"),),
        "ring": (Noun("ring", "rings"), Noun("hoop", "hoops")),
        "diamond": (Noun("diamond", "diamonds"), Noun("gem", "gems")),
        "cross": (Noun("cross", "crosses"), Noun("plus sign", "plus signs")),
        "capsule": (Noun("capsule", "capsules"), Noun("pill", "pills")),
        "object": (Noun("object", "objects"), Noun("thing", "things")),
        "person": (Noun("person", "persons"),),
    },
    "fr": {
        "sphere": (Noun("sphère", "sphères", "f"), Noun("boule", "boules", "f")),
        "cube": (Noun("cube", "cubes", "m"), Noun("bloc", "blocs", "m")),
        "cylinder": (Noun("cylindre", "cylindres", "m"), Noun("tambour", "tambours", "m")),
        "cone": (Noun("cône", "cônes", "m"),),
        "pyramid": (Noun("pyramide", "pyramides", "f"),),
        "ring": (Noun("anneau", "anneaux", "m"), Noun("cerceau", "cerceaux", "m")),
        "diamond": (Noun("diamant", "diamants", "m"), Noun("gemme", "gemmes", "f")),
        "cross": (Noun("croix", "croix", "f"),),
        "capsule": (Noun("capsule", "capsules", "f"), Noun("gélule", "gélules", "f")),
        "object": (Noun("objet", "objets", "m"), Noun("chose", "choses", "f")),
        "person": (Noun("personne", "personnes", "f"),),
    },
    "de": {
        "sphere": (Noun("Kugel", "Kugeln", "f"), Noun("Ball", "Bälle", "m")),
        "cube": (Noun("Würfel", "Würfel", "m"), Noun("Klotz", "Klötze", "m")),
        "cylinder": (Noun("Zylinder", "Zylinder", "m"), Noun("Trommel", "Trommeln", "f")),
        "cone": (Noun("Kegel", "Kegel", "m"),),
        "pyramid": (Noun("Pyramide", "Pyramiden", "f"),),
        "ring": (Noun("Ring", "Ringe", "m"), Noun("Reifen", "Reifen", "m")),
        "diamond": (Noun("Edelstein", "Edelsteine", "m"), Noun("Juwel", "Juwelen", "n")),
        "cross": (Noun("Kreuz", "Kreuze", "n"),),
        "capsule": (Noun("Kapsel", "Kapseln", "f"), Noun("Pille", "Pillen", "f")),
        "object": (Noun("Gegenstand", "Gegenstände", "m"), Noun("Ding", "Dinge", "n")),
        "person": (Noun("Person", "Personen", "f"),),
    },
}

COLOUR: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {c: (c,) for c in ("red", "orange", "yellow", "green", "blue", "purple", "pink", "grey")},
    "fr": {  # masculine, feminine, and their plurals
        "red": ("rouge", "rouge", "rouges", "rouges"),
        "orange": ("orange", "orange", "orange", "orange"),
        "yellow": ("jaune", "jaune", "jaunes", "jaunes"),
        "green": ("vert", "verte", "verts", "vertes"),
        "blue": ("bleu", "bleue", "bleus", "bleues"),
        "purple": ("violet", "violette", "violets", "violettes"),
        "pink": ("rose", "rose", "roses", "roses"),
        "grey": ("gris", "grise", "gris", "grises"),
    },
    "de": {
        "red": ("rot",),
        "orange": ("orangefarben",),
        "yellow": ("gelb",),
        "green": ("grün",),
        "blue": ("blau",),
        "purple": ("violett",),
        "pink": ("rosafarben",),
        "grey": ("grau",),
    },
}

SIZE: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {"small": ("small", "little"), "large": ("large", "big")},  # synonyms
    "fr": {"small": ("petit", "petite", "petits", "petites"), "large": ("grand", "grande", "grands", "grandes")},
    "de": {"small": ("klein",), "large": ("groß",)},
}

MATERIAL: dict[str, dict[str, str]] = {
    "en": {"rubber": "rubber", "metal": "metal", "glass": "glass", "wood": "wooden"},
    "fr": {"rubber": "en caoutchouc", "metal": "en métal", "glass": "en verre", "wood": "en bois"},
    "de": {"rubber": "aus Gummi", "metal": "aus Metall", "glass": "aus Glas", "wood": "aus Holz"},
}

GARMENT: dict[str, dict[str, Noun]] = {  # gender p: there is no singular
    "en": {
        "shirt": Noun("shirt", "shirts"),
        "trousers": Noun("trousers", "trousers", "p"),
        "shorts": Noun("shorts", "shorts", "p"),
        "skirt": Noun("skirt", "skirts"),
        "cap": Noun("cap", "caps"),
        "hat": Noun("hat", "hats"),
    },
    "fr": {
        "shirt": Noun("chemise", "chemises", "f"),
        "trousers": Noun("pantalon", "pantalons", "m"),
        "shorts": Noun("short", "shorts", "m"),
        "skirt": Noun("jupe", "jupes", "f"),
        "cap": Noun("casquette", "casquettes", "f"),
        "hat": Noun("chapeau", "chapeaux", "m"),
    },
    "de": {
        "shirt": Noun("Hemd", "Hemden", "n"),
        "trousers": Noun("Hose", "Hosen", "f"),
        "shorts": Noun("Shorts", "Shorts", "p"),
        "skirt": Noun("Rock", "Röcke", "m"),
        "cap": Noun("Mütze", "Mützen", "f"),
        "hat": Noun("Hut", "Hüte", "m"),
    },
}

POSE: dict[str, dict[str, str]] = {
    "en": {
        "standing": "is standing still",
        "waving": "is waving",
        "cheering": "is cheering with both arms up",
        "walking": "is walking",
        "pointing": "is pointing to the side",
        "sitting": "is sitting on the ground",
    },
    "fr": {
        "standing": "se tient debout",
        "waving": "fait signe de la main",
        "cheering": "lève les deux bras",
        "walking": "marche",
        "pointing": "montre le côté du doigt",
        "sitting": "est assise par terre",
    },
    "de": {
        "standing": "steht still",
        "waving": "winkt",
        "cheering": "reißt beide Arme hoch",
        "walking": "geht",
        "pointing": "zeigt zur Seite",
        "sitting": "sitzt auf dem Boden",
    },
}

RELATION: dict[str, dict[str, str]] = {
    "en": {
        "left of": "to the left of",
        "right of": "to the right of",
        "in front of": "in front of",
        "behind": "behind",
        "on": "on top of",
        "under": "underneath",
    },
    "fr": {
        "left of": "à gauche de",
        "right of": "à droite de",
        "in front of": "devant",
        "behind": "derrière",
        "on": "sur",
        "under": "sous",
    },
    "de": {
        "left of": "links von",
        "right of": "rechts von",
        "in front of": "vor",
        "behind": "hinter",
        "on": "auf",
        "under": "unter",
    },
}

NUMBERS: dict[str, tuple[str, ...]] = {
    "en": ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "fr": ("aucun", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf"),
    "de": ("kein", "ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
}
