"""Reading Python's grammar from many threads, as a server does."""

import ast
from concurrent.futures import ThreadPoolExecutor

import pytest

from isthmus.core.syntax import parsed, parsed_expression


def test_threads_do_not_disturb_each_other():
    text = "\n".join(f"x{i} = [({i}, {{'a': [{i}, (1, 2, 3)]}})]" for i in range(400))
    with ThreadPoolExecutor(8) as pool:
        trees = list(pool.map(lambda _: ast.dump(parsed(text)), range(24)))
    assert trees == [ast.dump(ast.parse(text))] * 24


def test_expressions():
    assert ast.literal_eval(parsed_expression("[1, 2]")) == [1, 2]
    for read in (parsed, parsed_expression):
        with pytest.raises(SyntaxError):
            read("a b")
