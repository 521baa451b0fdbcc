"""`align`: fit one map a modality from paired vectors, and keep them as a space."""

import contextlib
import inspect
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.core import catalog
from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.data.splits import holdout
from isthmus.space import Map, Space
from isthmus.store.store import Store

__all__ = ["align", "estimator"]


def align(
    store: Store | str | Path,
    *,
    modalities: Sequence[str],
    method: str = "projectors",
    settings: Mapping[str, Any] | None = None,
    keys: Collection[str] | None = None,
    hold_out: int = 0,
    split: int = 0,
    weights: Mapping[str, float] | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Space:
    """Fit a method on the records of a store that share a key, and return the space (saved under `out`).

    Records of different modalities belong together when their keys are equal; an item may have many records of
    a modality (a name in fourteen languages). `keys` restricts the fit to some items; `weights` says how much more
    often than others the records of a variant are drawn, such as {"en": 4}. `settings` are the
    constructor arguments of the method; text values are converted to the argument's type.

    `hold_out` items that have all modalities are kept out of the fit, and their near-duplicates with them: those of
    number `split` (`isthmus.data.splits.holdout`). The card names them, and `evaluate` then measures on them.

    Raises `BadInput` when fewer than two modalities are named, when one is absent from the store, when
    fewer than two items have all of them, or when more are to be held out than there are.
    """
    store = store if isinstance(store, Store) else Store.open(store)
    if len(set(modalities)) < 2:
        raise BadInput(f"align needs at least two different modalities, got {list(modalities)}")
    model = estimator(method, settings or {})
    vectors = {m: store.vectors(m, keys=keys) for m in modalities}
    shared = set.intersection(*(set(v.keys) for v in vectors.values()))
    if len(shared) < 2:
        sizes = {m: len(set(v.keys)) for m, v in vectors.items()}
        raise BadInput(
            f"align needs at least 2 items that have all of {list(modalities)}, found {len(shared)} "
            f"(items a modality: {sizes}); records belong together when their keys are equal"
        )
    held: list[str] = []
    if hold_out:
        group = {str(k): str(g) for v in vectors.values() for k, g in zip(v.keys, v.groups, strict=True)}
        parts = holdout(sorted(shared), [group[key] for key in sorted(shared)], split=split, n=hold_out)
        held, shared = sorted(parts.test), set(parts.train)
        # near-duplicates of what is held out may be in one modality alone, where `holdout` did not see them
        apart = {group[key] for key in held}
        vectors = {m: v.take(np.array([group[str(k)] not in apart for k in v.keys])) for m, v in vectors.items()}
    if out is not None:
        Space.claim(out)
    try:
        model.fit(
            {m: v.x for m, v in vectors.items()},
            keys={m: v.keys for m, v in vectors.items()},
            weights={m: np.array([(weights or {}).get(str(n), 1.0) for n in v.variants]) for m, v in vectors.items()},
            seed=seed,
            progress=progress,
        )
    except BaseException:
        if out is not None:  # the folder that was claimed goes again, unless there is something in it
            with contextlib.suppress(OSError):
                Path(out).rmdir()
        raise
    maps = {
        m: Map(steps=steps, tensors=tensors, fingerprint=vectors[m].fingerprint)
        for m, (steps, tensors) in model.maps().items()
    }
    card = {
        "name": f"{method} on {store.manifest['source'].get('name', 'a store')}",
        "method": method,
        "settings": {k: v for k, v in model.get_params().items() if isinstance(v, str | int | float | bool | None)},
        "seed": seed,
        "weights": dict(weights or {}),
        "training": {
            "source": store.manifest["source"],
            "items": len(shared),
            "records": {m: len(v.x) for m, v in vectors.items()},
            "keys": sorted(str(key) for key in shared),  # what a correction's banks may be taken from
            **({"held_out": held, "split": split} if held else {}),
        },
    }
    space = Space(maps=maps, card=card)
    if out is not None:
        space.save(out)
    return space


def estimator(method: str, settings: Mapping[str, Any]) -> Any:
    """Build the class that serves `align` under a name, with its settings converted to their types."""
    served = catalog.serving("align")
    name = method.replace("-", "_")
    if name not in served:
        raise NotFound.named("align method", method, served)
    module, attribute = served[name]
    cls = getattr(catalog.imported(module, f"the method {name}"), attribute)
    return cls(**typed_settings(cls, settings))


def typed_settings(cls: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Convert text settings (``--set width=256``) to the types of a constructor's arguments."""
    hints = typing.get_type_hints(vars(cls)["__init__"])
    known = list(inspect.signature(cls).parameters)
    converted: dict[str, Any] = {}
    for name, value in settings.items():
        if name not in known:
            raise NotFound.named(f"setting of {cls.__name__}", name, known)
        converted[name] = (
            _convert(f"{cls.__name__}.{name}", value, hints.get(name, str)) if isinstance(value, str) else value
        )
    return converted


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _convert(name: str, text: str, hint: Any) -> Any:
    """Convert one text to a type hint: a number, a truth value, a choice, or None where that is allowed."""
    if typing.get_origin(hint) is typing.Literal:
        if text not in (choices := typing.get_args(hint)):
            raise NotFound.named(f"value of {name}", text, map(str, choices))
        return text
    options = typing.get_args(hint) or (hint,)
    if type(None) in options and text.lower() == "none":
        return None
    readers: dict[type, Callable[[str], Any]] = {bool: _truth, int: int, float: float, str: str}
    wanted = [t for t in readers if t in options]
    for kind in wanted:
        try:
            return readers[kind](text)
        except ValueError:
            continue
    raise BadInput(f"{name}: {text!r} is not {' or '.join(t.__name__ for t in wanted) or hint}")
