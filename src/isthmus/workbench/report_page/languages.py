"""English names of language codes, so that a page says "Persian" where the data say "fa"."""

from collections.abc import Collection

__all__ = ["labels"]

NAMES = """
af Afrikaans|am Amharic|ar Arabic|as Assamese|ast Asturian|az Azerbaijani|be Belarusian|bg Bulgarian|bn Bengali|
bo Tibetan|br Breton|bs Bosnian|ca Catalan|cs Czech|cy Welsh|da Danish|de German|el Greek|en English|eo Esperanto|
es Spanish|et Estonian|eu Basque|fa Persian|fi Finnish|fo Faroese|fr French|fy Frisian|ga Irish|gd Scottish Gaelic|
gl Galician|gu Gujarati|he Hebrew|hi Hindi|hr Croatian|hu Hungarian|hy Armenian|ia Interlingua|id Indonesian|
is Icelandic|it Italian|ja Japanese|jv Javanese|ka Georgian|kk Kazakh|km Khmer|kn Kannada|ko Korean|ku Kurdish|
ky Kyrgyz|la Latin|lb Luxembourgish|lo Lao|lt Lithuanian|lv Latvian|mk Macedonian|ml Malayalam|mn Mongolian|
mr Marathi|ms Malay|mt Maltese|my Burmese|nb Norwegian Bokmål|ne Nepali|nl Dutch|nn Norwegian Nynorsk|no Norwegian|
oc Occitan|or Odia|pa Punjabi|pl Polish|ps Pashto|pt Portuguese|ro Romanian|ru Russian|sa Sanskrit|sd Sindhi|
si Sinhala|sk Slovak|sl Slovenian|so Somali|sq Albanian|sr Serbian|sv Swedish|sw Swahili|ta Tamil|te Telugu|tg Tajik|
th Thai|ti Tigrinya|tk Turkmen|tl Tagalog|tr Turkish|tt Tatar|ug Uyghur|uk Ukrainian|ur Urdu|uz Uzbek|vi Vietnamese|
wa Walloon|wo Wolof|xh Xhosa|yi Yiddish|yo Yoruba|zh Chinese|zu Zulu
"""


def labels(codes: Collection[str]) -> dict[str, dict[str, str]]:
    """Return {code: {label, lang}}; codes count as languages only if every one of them is one.

    >>> labels(["en", "pt-BR"])
    {'en': {'label': 'English', 'lang': 'en'}, 'pt-BR': {'label': 'Portuguese (BR)', 'lang': 'pt-BR'}}
    >>> labels(["en", "outline"])
    {'en': {'label': 'en', 'lang': ''}, 'outline': {'label': 'outline', 'lang': ''}}
    """
    names = dict(entry.strip().split(" ", 1) for entry in NAMES.split("|"))
    if not codes or any(code.replace("_", "-").split("-")[0] not in names for code in codes):
        return {code: {"label": code or "all", "lang": ""} for code in codes}
    said = {}
    for code in codes:
        language, _, region = code.replace("_", "-").partition("-")
        said[code] = {"label": names[language] + (f" ({region})" if region else ""), "lang": code.replace("_", "-")}
    return said
