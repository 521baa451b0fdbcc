"""`train`: an encoder or a map, learned from data sets or a store, with its settings in a file and again from it.

Two kinds of method are trained. The small dual encoders (`encoders.dual`) learn from data sets: their training is
logged, and goes on where it stopped. Methods that serve `align`, such as `cwcl` or `projectors`, learn maps from the
vectors of one store. Both write ``run.json``, which `train` takes in place of a call.
"""

import importlib
import json
import multiprocessing
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from isthmus import data
from isthmus.core import catalog
from isthmus.core.errors import BadInput, NotFound
from isthmus.core.files import write_json
from isthmus.core.progress import Progress, silent
from isthmus.store.store import Store
from isthmus.workbench.align import align, typed_settings

__all__ = ["DUAL", "Plan", "planned", "train"]

RUN = "run.json"
DUAL = ("dual", "dual_vit", "dual_tiny")
"""The methods that learn a dual encoder from data sets."""
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be trained: a method, on what, and how. `options` {data set: {name: value}} are those of its loading.

    The `settings` are complete: those that nobody gave have their defaults.
    """

    method: str
    data: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any]


def planned(
    method: str | None,
    sources: Sequence[str] = (),
    *,
    settings: Mapping[str, Any] | None = None,
    run: str | Path | None = None,
    seed: int = 0,
) -> Plan:
    """Return the plan of a call, which begins with the settings file `run` where one is given.

    Settings are texts or values; ``NAME.OPTION`` is an option of the data set NAME, such as ``world.max_objects``.

    Raises:
        NotFound: for an unknown method or setting, with the nearest name, or a settings file that is not there.
        BadInput: for a value of another type, a method without data, or a settings file that cannot be used.
    """
    stored = {} if run is None else _stored(Path(run))
    name = (method or str(stored.get("method", ""))).replace("-", "_")
    known = [*DUAL, *catalog.serving("align")]
    if name not in known:
        if not name:
            raise BadInput(f"name what to train, or a settings file with --from; known are {', '.join(known)}")
        raise NotFound.named("method to train", name, known)
    if stored and name != stored["method"]:
        raise BadInput(f"{run} is of the method {stored['method']}, not {name}: leave the name out, or the file")
    given = {**({"seed": seed} if seed and name in DUAL else {}), **(settings or {})}
    defaults, own_data, own_options = _defaults(name)
    chosen = tuple(sources) or tuple(stored.get("data", ())) or own_data
    if not chosen:
        raise BadInput(f"{name} learns from a store: isthmus train {name} STORE")
    options = {n: dict(own) for n, own in (stored.get("options", {}) or own_options).items() if n in chosen}
    for place in [n for n in given if "." in n]:
        source, _, option = place.partition(".")
        if source not in chosen:
            raise NotFound.named(f"data set of --set {place}", source, chosen)
        options.setdefault(source, {}).update(data.options({option: str(given.pop(place))}))
    cls = _class(name)
    complete = {**defaults, **typed_settings(cls, stored.get("settings", {})), **typed_settings(cls, given)}
    return Plan(method=name, data=chosen, options=options, settings=complete)


def train(
    plan: Plan,
    *,
    out: str | Path | None = None,
    fresh: bool = False,
    every: int = 100,
    tensorboard: bool = False,
    processes: int = 1,
    device: str = "cpu",
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train what was planned and return a record: the folder, and what is known about the training.

    A dual encoder goes to `out`, or under its own name into the cache, from where it is loaded by name. It goes on from
    its last checkpoint, one `every` steps; when it is finished already, it is left as it is. `fresh` begins anew.
    Several `processes` share every batch and come to the weights of one, but for rounding. Maps need `out`, and are
    fitted in one go.

    Raises what the method and its data raise, `BadInput` for options that it does not have.
    """
    if processes < 1:
        raise BadInput(f"processes = {processes}; expected at least 1")
    if plan.method not in DUAL:
        return _maps(plan, out, processes, tensorboard, seed, progress)
    from isthmus.encoders import dual

    if plan.settings["batch"] % processes:
        raise BadInput(
            f"batches of {plan.settings['batch']} items cannot give as many for each of {processes} processes"
        )
    folder = dual.home(plan.method) if out is None else Path(out)
    how = {"fresh": fresh, "every": every, "device": device}
    with ExitStack() as stack:
        if processes > 1:
            stack.enter_context(_Group(plan, folder, how, processes))
        trained = _dual(plan, folder, {**how, "tensorboard": tensorboard, "progress": progress})
    record: dict[str, Any] = {"folder": str(folder), **trained.head["training"]}
    return record


def _dual(plan: Plan, folder: Path, how: Mapping[str, Any]) -> Any:
    from isthmus.encoders import dual

    sets = [data.load(name, **plan.options.get(name, {})) for name in plan.data]
    settings = dual.Settings(**plan.settings)
    return dual.fit(sets, settings=settings, out=folder, method=plan.method, options=plan.options, **how)


class _Group:
    """A group of processes over gloo, of which this one is the first; the others do the same work on other rows."""

    def __init__(self, plan: Plan, folder: Path, how: Mapping[str, Any], processes: int) -> None:
        self.work, self.processes = (plan, folder, dict(how)), processes

    def __enter__(self) -> None:
        self.meeting = tempfile.TemporaryDirectory()
        store = str(Path(self.meeting.name) / "store")
        spawned = multiprocessing.get_context("spawn")
        self.others = [
            spawned.Process(target=_other, args=(*self.work, rank, self.processes, store), daemon=True)
            for rank in range(1, self.processes)
        ]
        for other in self.others:
            other.start()
        _join(0, self.processes, store)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        import torch

        for other in self.others:
            if kind is not None:
                other.terminate()
            other.join(60)
        torch.distributed.destroy_process_group()
        self.meeting.cleanup()


def _join(rank: int, processes: int, store: str) -> None:
    import torch

    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=processes)


def _other(plan: Plan, folder: Path, how: dict[str, Any], rank: int, processes: int, store: str) -> None:
    _join(rank, processes, store)
    _dual(plan, folder, how)


def _maps(
    plan: Plan, out: str | Path | None, processes: int, tensorboard: bool, seed: int, progress: Progress
) -> dict[str, Any]:
    if out is None:
        raise BadInput(f"{plan.method} makes a space: say where with --out")
    if len(plan.data) != 1 or plan.options:
        raise BadInput(f"{plan.method} learns from the vectors of one store, got {', '.join(plan.data)}")
    if processes > 1 or tensorboard:
        raise BadInput(f"{plan.method} is fitted in one go, by one process and without logs for TensorBoard")
    store = Store.open(plan.data[0])
    space = align(
        store,
        modalities=store.modalities(),
        method=plan.method,
        settings=plan.settings,
        out=out,
        seed=seed,
        progress=progress,
    )
    settings = {k: v for k, v in plan.settings.items() if isinstance(v, str | int | float | bool | None)}
    record = {"method": plan.method, "data": [str(Path(plan.data[0]).resolve())], "options": {}, "settings": settings}
    write_json(Path(out) / RUN, {"format_version": FORMAT, **record, "seed": seed})
    return {"folder": str(out), **record, "items": space.card["training"]["items"]}


def _class(method: str) -> type:
    if method in DUAL:
        settings: type = importlib.import_module("isthmus.encoders.dual").Settings
        return settings
    module, attribute = catalog.serving("align")[method]
    cls: type = getattr(catalog.imported(module, f"the method {method}"), attribute)
    return cls


def _defaults(method: str) -> tuple[dict[str, Any], tuple[str, ...], Mapping[str, Mapping[str, Any]]]:
    """Return the settings, the data and their options that a name stands for."""
    if method not in DUAL:
        return {}, (), {}
    preset = importlib.import_module("isthmus.encoders.dual").PRESETS[method]
    return {f.name: getattr(preset.settings, f.name) for f in fields(preset.settings)}, preset.data, preset.options


def _stored(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"--from {path}: no such file; every run writes {RUN} into its folder") from error
    except (ValueError, OSError) as error:
        raise BadInput(f"--from {path} cannot be read: {error}") from error
    kinds = {"method": str, "data": list, "settings": dict, "options": dict}
    if not isinstance(record, dict) or any(not isinstance(record.get(n), kind) for n, kind in kinds.items()):
        raise BadInput(f"--from {path} is no settings file of a run: it needs {', '.join(kinds)}")
    return record
