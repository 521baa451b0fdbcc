"""Filters in words: ``category == 'animals' and year > 2000``, read with Python's grammar and never run.

    FIELD == != < <= > >= VALUE      also chained: 1990 < year <= 2000
    FIELD in [VALUE, …]              and not in
    'part' in FIELD                  the text of the field holds it; and not in
    FIELD is None                    the item has no such field; and is not
    and, or, not, ( )

FIELD is a column of the items (id, key, group, modality, variant, text, uri) or a field of their `meta`; ``meta['…']``
names a field that is no plain word, or one called like a column. VALUE is a text in quotes or a number. A field of
`meta` is a number where every value in the index is one, and a text otherwise. An item without a field fits no
comparison with it, neither == nor !=.
"""

import ast
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_, eq, ge, gt, le, lt, ne, or_
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.syntax import parsed_expression

__all__ = ["COLUMNS", "META", "Filter", "extracted", "numbered", "parse", "rows", "unknown"]

COLUMNS = ("id", "key", "group", "modality", "variant", "text", "uri")
"""Columns of the items that filters know, beside the fields of `meta`."""
META = "meta."
"""Put before a field of `meta`, which may be called like a column."""
LONGEST = 20_000
"""Letters of a filter, at most."""
CHUNK = 65_536
"""Rows whose `meta` is read at a time."""
COMPARISONS: Mapping[type, Any] = {ast.Eq: eq, ast.NotEq: ne, ast.Lt: lt, ast.LtE: le, ast.Gt: gt, ast.GtE: ge}
FORM = "a filter looks like \"category == 'animals' and year > 2000\""


@dataclass(frozen=True)
class Filter:
    """A filter that has been read: its words, its syntax tree, and the names of the columns that it needs."""

    text: str
    tree: ast.expr
    names: tuple[str, ...]

    def expression(self, numbers: Mapping[str, bool]) -> pc.Expression:
        """Return it as an expression of pyarrow; `numbers` says which of `names` are numbers, the others are texts.

        Raises `BadInput` where a field is compared with a value of another type.
        """
        return _Reader(self.text, numbers).condition(self.tree)


def parse(text: str) -> Filter:
    """Read a filter. Raises `BadInput`, saying what is wrong and how it would be right."""
    if not isinstance(text, str) or not text.strip():
        raise BadInput(f"the filter {text!r} is empty: {FORM}")
    if len(text) > LONGEST:
        raise BadInput(f"the filter has {len(text):,} letters, {LONGEST:,} at most: narrow it down")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Python warns of (odd escapes) is judged below
            tree = parsed_expression(text.strip())
        names = dict.fromkeys(name for node in ast.walk(tree) if (name := _name(node)) is not None)
        # read once with every field a text, so that what is no filter is refused before any data are looked at
        _Reader(text, None).condition(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, BadInput):
            raise
        reason = error.msg if isinstance(error, SyntaxError) else error
        hint = "; write == for equal" if "=" in text and "==" not in text else ""
        raise BadInput(f"the filter {text[:80]!r} cannot be read ({reason}): {FORM}{hint}") from None
    return Filter(text, tree, tuple(names))


def rows(wanted: Filter, columns: Mapping[str, Sequence[pa.ChunkedArray]], lengths: Sequence[int]) -> list[np.ndarray]:
    """Return the ascending rows of each of several tables that fit; `columns` {name: one array a table}, typed.

    Raises `BadInput` for values of another type than their field.
    """
    numbers = {name: not pa.types.is_string(arrays[0].type) for name, arrays in columns.items() if arrays}
    expression = wanted.expression(numbers)
    found = []
    for i, n in enumerate(lengths):
        table = pa.table({"row": np.arange(n), **{name: arrays[i] for name, arrays in columns.items()}})
        found.append(np.asarray(table.filter(expression)["row"], dtype=np.int64))
    return found


def extracted(items: pa.Table, name: str) -> pa.ChunkedArray:
    """Return one of `COLUMNS`, or the field of `meta` that stands after ``meta.``, as texts, null where absent."""
    if not name.startswith(META):
        return items[name]
    field = name.removeprefix(META)
    values = (record.get(field) for record in _records(items))
    return pa.chunked_array([pa.array([v if v is None else str(v) for v in values], pa.string())])


def numbered(arrays: Sequence[pa.ChunkedArray]) -> list[pa.ChunkedArray]:
    """Return columns of texts as numbers, whole ones where they are, when every value of all parses as a finite one."""
    for kind in (pa.int64(), pa.float64()):
        try:
            cast = [pc.cast(a, kind) for a in arrays]
        except pa.ArrowInvalid:
            continue
        if kind == pa.float64() and not all(pc.all(pc.is_finite(a), min_count=0).as_py() for a in cast):
            return list(arrays)
        return cast
    return list(arrays)


def unknown(name: str, tables: Iterable[pa.Table]) -> NotFound:
    """Return the error for a field that no item has."""
    known = {field for items in tables for record in _records(items) for field in record}
    return NotFound.named("field", name.removeprefix(META), {*COLUMNS, *known}, "in the items of the index")


def _records(items: pa.Table) -> Iterable[dict[str, Any]]:
    column = items["meta"]
    for start in range(0, len(column), CHUNK):
        yield from json.loads(f"[{','.join(column.slice(start, CHUNK).to_pylist())}]")


def _name(node: ast.AST) -> str | None:
    """Return the column that a node names, or None for a node of another kind."""
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "meta":
        key = node.slice
        return META + key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else None
    if isinstance(node, ast.Name) and node.id != "meta":
        return node.id if node.id in COLUMNS else META + node.id
    return None


@dataclass(frozen=True)
class _Reader:
    """Turns a syntax tree into an expression; `numbers` None checks the form alone."""

    text: str
    numbers: Mapping[str, bool] | None

    def condition(self, node: ast.expr) -> pc.Expression:
        match node:
            case ast.BoolOp(op=op, values=values):
                return reduce(and_ if isinstance(op, ast.And) else or_, map(self.condition, values))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ~self.condition(operand)
            case ast.Compare(left=left, ops=ops, comparators=others):
                sides = [left, *others]
                pairs = zip(sides, ops, sides[1:], strict=False)
                return reduce(and_, (self.comparison(a, op, b) for a, op, b in pairs))
            case ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
                raise self.wrong(node, "write and, or")
        raise self.wrong(node, "a comparison is expected, such as year > 2000")

    def comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pc.Expression:
        if isinstance(op, ast.In | ast.NotIn):
            found = self.membership(left, right)
            return ~found if isinstance(op, ast.NotIn) else found
        if isinstance(op, ast.Is | ast.IsNot):
            if (name := _name(left)) is None or not (isinstance(right, ast.Constant) and right.value is None):
                raise self.wrong(left, "is and is not go between a field and None")
            missing = pc.field(name).is_null()
            return ~missing if isinstance(op, ast.IsNot) else missing
        sides = [self.operand(left), self.operand(right)]
        fields = [side for side in sides if isinstance(side, _Field)]
        if not fields:
            raise self.wrong(left, "a comparison names a field of the items, which stands without quotes")
        self.check(fields[0], sides[1] if fields[0] is sides[0] else sides[0])
        return COMPARISONS[type(op)](*map(_arrow, sides))

    def membership(self, left: ast.expr, right: ast.expr) -> pc.Expression:
        one, holder = self.operand(left), _name(right)
        if isinstance(one, _Field) and isinstance(right, ast.List | ast.Tuple | ast.Set):
            values = [self.value(each) for each in right.elts]
            for value in values:
                self.check(one, value)
            if self.holds(one) == "numbers":
                return reduce(or_, (_arrow(one) == _arrow(v) for v in values), pc.scalar(False))
            return _arrow(one).isin(pa.array([v for v in values if isinstance(v, str)], pa.string()))
        if holder and isinstance(one, str):
            self.check(_Field(holder), one)
            return pc.match_substring(pc.field(holder), one)
        raise self.wrong(right, "in goes between a field and a list of values, or a text in quotes and a field")

    def operand(self, node: ast.expr) -> "_Field | str | int | float":
        """Return a field or a literal."""
        return _Field(name) if (name := _name(node)) is not None else self.value(node)

    def value(self, node: ast.expr) -> str | int | float:
        """Return a literal."""
        match node:
            case ast.Constant(value=str() as text):
                return text
            case ast.Constant(value=bool()):
                pass
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.Constant(value=None):
                raise self.wrong(node, "write `is None`")
        raise self.wrong(node, "a value is a text in quotes or a number")

    def holds(self, side: "_Field | str | int | float") -> str:
        """Return whether a field or value is of numbers or of texts."""
        if isinstance(side, _Field):
            return "numbers" if self.numbers is not None and self.numbers[side.name] else "texts"
        return "texts" if isinstance(side, str) else "numbers"

    def check(self, field: "_Field", other: "_Field | str | int | float") -> None:
        """Raise `BadInput` unless the two sides of a comparison are of one type."""
        held = self.holds(field)
        if self.numbers is None or held == self.holds(other):
            return
        mend = "write the number without quotes" if held == "numbers" else "a text stands in quotes"
        said = repr(other)
        if isinstance(other, _Field):
            said = f"{other.name.removeprefix(META)}, which holds {self.holds(other)}"
        raise BadInput(
            f"the filter {self.text[:80]!r} compares {field.name.removeprefix(META)}, which holds {held}, with {said}: "
            f"{mend}"
        )

    def wrong(self, node: ast.AST, mend: str) -> BadInput:
        part = ast.get_source_segment(self.text.strip(), node) or self.text
        return BadInput(f"the filter {self.text[:80]!r} cannot be used at {part[:60]!r}: {mend}")


@dataclass(frozen=True)
class _Field:
    """A field that a comparison names."""

    name: str


def _arrow(side: _Field | str | int | float) -> pc.Expression:
    """Return a side of a comparison; a whole number beyond 64 bits as a float."""
    if isinstance(side, _Field):
        return pc.field(side.name)
    return pc.scalar(float(side) if isinstance(side, int) and abs(side) >= 1 << 63 else side)
