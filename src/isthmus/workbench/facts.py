"""The facts that a card may declare, each with the check that a toy passes when it is true.

`call` makes the role's call on a toy (`isthmus.core.roles.Toy`) and returns what came out as a flat list of arrays.
The contract tests and `isthmus check` use the same checks. A check returns an empty text, or what is wrong.
"""

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from isthmus.core.card import Fact
from isthmus.core.catalog import Entry
from isthmus.core.roles import Toy
from isthmus.core.run import seeded

__all__ = ["CHECKS", "call", "gradients", "leaves", "mapped"]


def mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """Return a nested input (mappings, tuples, lists, records) with `change` applied to every array in it."""
    if isinstance(value, Mapping):
        return {key: mapped(change, item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(change, item) for item in value))
    if isinstance(value, tuple | list):
        return type(value)(mapped(change, item) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: mapped(change, getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **fields)
    return change(value) if hasattr(value, "dtype") and hasattr(value, "shape") else value


def leaves(value: Any) -> list[Any]:
    """Return the arrays of a nested value, in order."""
    found: list[Any] = []

    def keep(array: Any) -> Any:
        found.append(array)
        return array

    mapped(keep, value)
    return found


def call(toy: Toy) -> list[Any]:
    """Make the role's call and return the arrays that came out of it."""
    thing, inputs = toy.thing, toy.inputs
    match toy.role:
        case "objective":
            return leaves(thing.loss(*inputs))
        case "space_map":
            fitted = thing.fit(*inputs)
            return [fitted.transform(modality, x) for modality, x in inputs[0].items()]
        case "scorer":
            return leaves(thing.fit(*inputs).score(*inputs))
        case "encoder" | "coder":
            return leaves(thing.encode(*inputs))
        case "generator":
            return leaves(thing.sample(*inputs))
        case "segmenter":
            return leaves(thing.segment(*inputs))
        case "matcher":
            return leaves(thing.match(*inputs))
        case "graph":
            return leaves(thing(*inputs))
    return [np.asarray(list(toy.demo().values()), dtype=np.float64)]


def gradients(toy: Toy) -> dict[str, Any]:
    """Return the gradient (or None) of a weighted sum of the outputs for each parameter and ``input 0``, ….

    The weights differ from element to element, because a plain sum of squares of unit vectors has no gradient.
    """
    import torch

    given: list[Any] = []

    def ask(array: Any) -> Any:
        if isinstance(array, torch.Tensor) and array.is_floating_point():
            array = array.detach().clone().requires_grad_()
            given.append(array)
        return array

    inputs = mapped(ask, toy.inputs)
    outputs = [o for o in call(dataclasses.replace(toy, inputs=inputs)) if getattr(o, "requires_grad", False)]
    if not outputs:
        return {"output": None}
    total = sum((o * torch.cos(torch.arange(o.numel(), dtype=o.dtype)).reshape(o.shape)).sum() for o in outputs)
    assert isinstance(total, torch.Tensor)
    wanted = dict(toy.thing.named_parameters()) if isinstance(toy.thing, torch.nn.Module) else {}
    wanted |= {f"input {i}": array for i, array in enumerate(given)}
    return dict(zip(wanted, torch.autograd.grad(total, list(wanted.values()), allow_unused=True), strict=True))


def _make(entry: Entry) -> Toy:
    toy: Toy = entry.load().toy()
    return toy


def _deterministic(entry: Entry) -> str:
    runs = []
    for seed in (1, 2):
        toy = _make(entry)
        with seeded(seed):
            runs.append([np.asarray(_detached(o)) for o in call(toy)])
    same = all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))
    return "" if same else "the output depends on the global random state"


def _float64(entry: Entry) -> str:
    toy = _make(entry)
    if hasattr(toy.thing, "double"):
        toy.thing.double()
    wide = call(dataclasses.replace(toy, inputs=mapped(_double, toy.inputs)))
    dtypes = {str(o.dtype).removeprefix("torch.") for o in wide if "float" in str(o.dtype)}
    if dtypes != {"float64"}:
        return f"float64 inputs gave outputs of {sorted(dtypes) or 'no floating type'}"
    return (
        "" if all(np.isfinite(_detached(o)).all() for o in wide) else "float64 inputs gave values that are not finite"
    )


def _gradients(entry: Entry) -> str:
    toy = _make(entry)
    found = {name: g for name, g in gradients(toy).items() if name.startswith("input") or g is None}
    dead = [name for name, g in found.items() if name not in toy.frozen and (g is None or not bool(g.any()))]
    return f"no gradient reaches {', '.join(dead)}" if dead or not found else ""


def _numpy_only(entry: Entry) -> str:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\nfrom isthmus.core.catalog import Entry\n"
        f"Entry({entry.name!r}, {entry.family!r}, Path({str(entry.path)!r}), {entry.module!r}).load().toy().demo()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return f"without torch: {done.stderr.strip().splitlines()[-1]}" if done.returncode else ""


def _streaming(entry: Entry) -> str:
    toy = _make(entry)
    thing, inputs = toy.thing, toy.inputs
    if toy.role == "space_map":
        thing = thing.fit(*inputs)
        parts: list[tuple[Callable[[Any], Any], Any]] = [(partial(thing.transform, m), x) for m, x in inputs[0].items()]
    elif toy.role == "scorer":
        thing = thing.fit(*inputs)
        parts = [(lambda x: thing.score(x, inputs[1]), inputs[0])]
    elif toy.role in ("encoder", "coder"):
        parts = [(partial(thing.encode, inputs[0]), inputs[1])]
    elif toy.role == "segmenter":
        parts = [(thing.segment, inputs[0])]
    else:
        return f"there is no check of 'streaming' for the role {toy.role!r}"
    for apply, x in parts:
        whole = _detached(apply(x))
        blocks = np.concatenate([_detached(apply(x[: len(x) // 2])), _detached(apply(x[len(x) // 2 :]))])
        if not np.allclose(whole, blocks, rtol=1e-5, atol=1e-6):
            return "two blocks of items give another result than all items at once"
    return ""


def _double(array: Any) -> Any:
    if isinstance(array, np.ndarray):
        return array.astype(np.float64) if array.dtype == np.float32 else array
    return array.double() if array.is_floating_point() else array


def _detached(output: Any) -> np.ndarray:
    return np.asarray(output.detach().cpu() if hasattr(output, "detach") else output)


CHECKS: Mapping[Fact, Callable[[Entry], str]] = {
    "deterministic": _deterministic,
    "float64": _float64,
    "gradients": _gradients,
    "numpy_only": _numpy_only,
    "streaming": _streaming,
}
