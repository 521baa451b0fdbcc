"""Python's own grammar, for one thread at a time."""

import ast
import threading

__all__ = ["parsed", "parsed_expression"]

_ONE = threading.Lock()


def parsed(text: str) -> ast.Module:
    """Return the syntax tree of a module; raises what `ast.parse` does.

    Threads that parse at the same time disturb each other's count of the depth (CPython 3.11: "AST constructor
    recursion depth mismatch").
    """
    with _ONE:
        return ast.parse(text)


def parsed_expression(text: str) -> ast.expr:
    """Return the syntax tree of an expression; the rest as `parsed`."""
    with _ONE:
        return ast.parse(text, mode="eval").body
