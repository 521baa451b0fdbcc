"""Filters: against a reading of the same words by Python itself, row by row; what is refused, and in what words."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core.errors import BadInput
from isthmus.index import where

META = [
    {"category": "animals", "year": "1999", "weight": "2.5", "code": "7"},
    {"category": "animals", "year": "2001", "weight": "-3", "code": "seven"},
    {"category": "plants", "year": "2024", "page no": "3"},
    {"category": 'an "odd" one', "year": "2001"},
    {},
]
ITEMS = {
    "id": [f"k{i}|image|" for i in range(5)],
    "key": [f"k{i}" for i in range(5)],
    "group": ["a", "a", "b", "b", "b"],
    "modality": ["image"] * 5,
    "variant": ["", "en", "en", "fr", ""],
    "text": ["a cat", "a dog", None, "the cat's tail", ""],
    "uri": [f"file:{i}.png" for i in range(5)],
}


def table():
    import json

    return pa.table({**ITEMS, "meta": [json.dumps(m) for m in META]})


def fits(text):
    read = where.parse(text)
    columns = {}
    for name in read.names:
        column = where.extracted(table(), name)
        columns[name] = where.numbered([column]) if name.startswith(where.META) else [column]
    return where.rows(read, columns, [5])[0].tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("category == 'animals' and year > 2000", [1]),
        ("category == 'animals' or year > 2020", [0, 1, 2]),
        ("not (category == 'animals')", [2, 3]),
        ("category != 'animals'", [2, 3]),
        ("1999 < year <= 2001", [1, 3]),
        ("2001 == year", [1, 3]),
        ("weight < 0", [1]),
        ("weight == -3", [1]),
        ("weight >= -3.0 and weight <= 2.5", [0, 1]),
        ("year in [1999, 2024, 2024.5]", [0, 2]),
        ("year not in (1999, 2024)", [1, 3]),
        ("year in []", []),
        ("key in ['k0', 'k4', 'nobody']", [0, 4]),
        ("'cat' in text", [0, 3]),
        ("'cat' not in text", [1, 4]),
        ('"\'s" in text', [3]),
        ("text is None", [2]),
        ("text is not None", [0, 1, 3, 4]),
        ("category is None", [4]),
        ("text == ''", [4]),
        ("code == 'seven'", [1]),
        ("meta['page no'] == 3", [2]),
        ("meta['category'] == 'plants'", [2]),
        ("category == 'an \"odd\" one'", [3]),
        ("variant == 'en' and not year > 2020", [1]),
        ("year < 99999999999999999999999", [0, 1, 2, 3]),
        ("key < 'k2'", [0, 1]),
        ("group == variant", []),
        ("  ( year )\n== 2024 ", [2]),
    ],
)
def test_oracle(text, expected):
    if "\n" not in text:
        assert fits(text) == expected
    else:
        assert fits(text.replace("\n", " ")) == expected


YEARS = st.integers(1998, 2025)
ATOMS = st.one_of(
    st.builds("year {} {}".format, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), YEARS),
    st.builds("category {} {!r}".format, st.sampled_from(["==", "!="]), st.sampled_from(["animals", "plants"])),
    st.builds("year in {}".format, st.lists(YEARS, max_size=3)),
    st.builds("key {} {!r}".format, st.sampled_from(["<", "=="]), st.sampled_from(["k1", "k3"])),
)
WORDS = st.recursive(
    ATOMS,
    lambda w: st.one_of(
        st.builds("({} and {})".format, w, w), st.builds("({} or {})".format, w, w), st.builds("(not {})".format, w)
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(WORDS)
def test_python_reads_them_alike(text):
    """On items that have every field, a filter is what Python makes of its words."""
    expected = [
        i
        for i in range(4)
        if eval(text, {}, {"key": ITEMS["key"][i], "category": META[i]["category"], "year": int(META[i]["year"])})
    ]
    assert [i for i in fits(text) if i < 4] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: a filter looks like"),
        (" ", "is empty"),
        ("year = 2000", "write == for equal"),
        ("year > ", "cannot be read"),
        ("year > 2000; key == 'x'", "cannot be read"),
        ("year", "a comparison is expected"),
        ("'cat'", "a comparison is expected"),
        ("1 < 2", "names a field of the items"),
        ("(year > 2000) & (year < 2010)", "write and, or"),
        ("text == None", "write `is None`"),
        ("year is 3", "between a field and None"),
        ("year > True", "a value is a text in quotes or a number"),
        ("key == b'x'", "a value is a text in quotes or a number"),
        ("year + 1 > 2000", "a value is a text in quotes or a number"),
        ("__import__('os').system('x') == 0", "a value is a text in quotes or a number"),
        ("text.upper() == 'A'", "a value is a text"),
        ("key[0] == 'a'", "a value is a text"),
        ("meta == 'a'", "a value is a text"),
        ("meta[0] == 'a'", "a value is a text"),
        ("key in 'abc'", "in goes between"),
        ("3 in text", "in goes between"),
        ("year in [year]", "a value is a text"),
        ("[x for x in key] == 1", "a value is a text"),
        ("(key := 'x') == 'x'", "a value is a text"),
        ("lambda: 1", "a comparison is expected"),
        ("year > 'MM'", "compares year, which holds numbers, with 'MM': write the number without quotes"),
        ("year == '2001'", "write the number without quotes"),
        ("year in [2001, 'x']", "compares year, which holds numbers, with 'x'"),
        ("'20' in year", "compares year, which holds numbers"),
        ("code == 7", "compares code, which holds texts, with 7: a text stands in quotes"),
        ("key > 7", "compares key, which holds texts, with 7"),
        ("key == year", "compares key, which holds texts, with year, which holds numbers"),
        ("(" * 300 + "year > 1" + ")" * 300, "cannot be read"),
        ("not " * 3000 + "year > 1", "cannot be read"),
        ("year > 1 and " * 3000 + "year > 1", "narrow it down"),
        ("key == '\0'", "cannot be read"),
        (r"key == '\d' and", "cannot be read"),
    ],
)
def test_errors(text, message):
    with pytest.raises(BadInput, match=message.replace("(", r"\(")):
        fits(text)


def test_odd_values_are_no_numbers():
    for odd in ("nan", "inf", "1_000", "", " 1", "two"):
        (column,) = where.numbered([pa.chunked_array([["1", odd]])])
        assert pa.types.is_string(column.type), odd
    (whole,), (real,) = where.numbered([pa.chunked_array([["1", None]])]), where.numbered([pa.chunked_array([["1e3"]])])
    assert whole.type == pa.int64() and real.to_pylist() == [1000.0]
    big = str(2**53 + 1)
    assert where.numbered([pa.chunked_array([[big]])])[0].to_pylist() == [2**53 + 1]
