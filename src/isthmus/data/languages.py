"""Names of languages as BCP 47 writes them, whatever a package calls them."""

__all__ = ["tag"]

SCRIPTS = {"cyrillic": "Cyrl", "cyrl": "Cyrl", "latin": "Latn", "latn": "Latn", "hans": "Hans", "hant": "Hant"}
CHINESE = {"zh-CN": "zh", "zh-Hans": "zh", "zh-TW": "zh-Hant"}
"""Chinese is told apart by script, as in Unicode's data, and not by country."""


def tag(code: str) -> str:
    """Return the tag for a code such as ``pt_BR``, ``ca@valencia`` or ``zh_TW``: pt-BR, ca-valencia, zh-Hant."""
    language, *rest = code.replace("_", "-").replace("@", "-").split("-")
    rest = [SCRIPTS.get(part.lower(), part.upper() if len(part) == 2 else part) for part in rest]
    name = "-".join([language.lower(), *rest])
    return CHINESE.get(name, name)
