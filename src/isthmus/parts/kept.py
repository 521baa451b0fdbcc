"""A training that is kept in a folder: settings, log, and a checkpoint from which it goes on to the same weights.

    run.json                  the settings of the run
    log.jsonl                 a line a step: the step, what it reported, the rate, seconds and processor seconds so far
    checkpoint.safetensors    weights, state of the optimiser and of all random generators, and the steps done
    tensorboard/              the same figures for TensorBoard, where that is asked for

The checkpoint is replaced in one rename, after the log has reached the disk. A process that is killed at any moment,
also by kill -9, loses the steps since the last checkpoint; the same call repeats them from the same state, and so ends
with the same weights to the bit (on the same machine, with as many threads and the same versions).
"""

import json
import os
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from isthmus.core.errors import BadInput, MissingExtra
from isthmus.core.files import atomic, write_json

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["CHECKPOINT", "LOG", "SETTINGS", "Kept", "fits", "read_log"]

SETTINGS = "run.json"
LOG = "log.jsonl"
CHECKPOINT = "checkpoint.safetensors"
TENSORBOARD = "tensorboard"
FORMAT = 1
KIND = "isthmus training"


class Kept:
    """What `train` keeps its work in: a folder, for one module with everything that is trained.

    `identity` is everything that decides the weights, as JSON values: settings, data, tokenizer. It is written to
    ``run.json`` together with what is to be said `about` the run, such as versions, and a checkpoint of another
    identity is refused. A checkpoint is written every `every` steps and at
    the end. With `tensorboard` the figures are also written for TensorBoard. Of several processes the first one
    writes, and all read.
    """

    def __init__(
        self,
        folder: str | Path,
        module: nn.Module,
        *,
        identity: Mapping[str, Any],
        about: Mapping[str, Any] | None = None,
        every: int = 100,
        tensorboard: bool = False,
    ) -> None:
        if every < 1:
            raise BadInput(f"every = {every}; a checkpoint is written every 1 step or more")
        self.folder, self.module, self.every, self.tensorboard = Path(folder), module, every, tensorboard
        self.identity, self.about = json.loads(json.dumps(identity)), dict(about or {})
        self.writes = not _distributed() or torch.distributed.get_rank() == 0
        self._file: Any = None
        self._board: SummaryWriter | None = None
        self._began, self._before = self._now(), (0.0, 0.0)

    @property
    def path(self) -> Path:
        """The checkpoint."""
        return self.folder / CHECKPOINT

    @property
    def spent(self) -> tuple[float, float]:
        """Seconds by the clock and by the processor so far, those before the checkpoint included."""
        now = self._now()
        return self._before[0] + now[0] - self._began[0], self._before[1] + now[1] - self._began[1]

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def begin(self, optimizer: torch.optim.Optimizer) -> int:
        """Load the checkpoint if there is one and return the steps done; the log is cut back to them.

        Raises `BadInput` for a checkpoint that cannot be read, or of another identity or architecture.
        """
        done = self._restore(optimizer) if self.path.exists() else 0
        if not self.writes:
            return done
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(".*.tmp"):  # by a process that was killed while it wrote
            left.unlink(missing_ok=True)
        log = self.folder / LOG
        lines = [json.dumps(row) for row in read_log(log) if row["step"] <= done] if log.exists() else []
        with atomic(log) as partial:
            partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        last = json.loads(lines[-1]) if lines else {"seconds": 0.0, "processor_seconds": 0.0}
        self._before, self._began = (last["seconds"], last["processor_seconds"]), self._now()
        write_json(self.folder / SETTINGS, {"format_version": FORMAT, **self.identity, **self.about})
        self._file = log.open("a", encoding="utf-8")
        if self.tensorboard:
            self._board = _board(self.folder / TENSORBOARD, done)
        return done

    def step(self, done: int, total: int, record: Mapping[str, float], optimizer: torch.optim.Optimizer) -> None:
        """Log what step number `done` of `total` reported, and write a checkpoint when it is time for one."""
        if not self.writes:
            return
        spent = zip(("seconds", "processor_seconds"), self.spent, strict=True)
        self._file.write(json.dumps({"step": done, **record, **{name: round(x, 3) for name, x in spent}}) + "\n")
        if self._board is not None:
            for name, value in record.items():
                self._board.add_scalar(name, value, done)
        if done % self.every == 0 or done == total:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._save(optimizer, done)

    def end(self) -> None:
        """Close the logs."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._board is not None:
            self._board.close()
            self._board = None

    def _save(self, optimizer: torch.optim.Optimizer, done: int) -> None:
        tensors = {f"module.{name}": x for name, x in self.module.state_dict().items()}
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": torch.as_tensor(x) for name, x in state.items()}
        tensors["rng.torch"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors |= {f"rng.cuda.{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
        kind, keys, *rest = np.random.get_state(legacy=True)
        tensors["rng.numpy"] = torch.from_numpy(np.asarray(keys).astype(np.int64))
        head = {
            "kind": KIND,
            "format_version": str(FORMAT),
            "done": str(done),
            "identity": json.dumps(self.identity),
            "python": json.dumps(random.getstate()),
            "numpy": json.dumps([kind, *rest]),
        }
        # each in memory of its own, which is what the format can hold
        whole = {name: x.detach().cpu().contiguous().clone() for name, x in tensors.items()}
        with atomic(self.path) as partial:
            save_file(whole, partial, metadata=head)

    def _restore(self, optimizer: torch.optim.Optimizer) -> int:
        head, tensors = _read(self.path)
        if head.get("kind") != KIND or not head.get("done", "").isdigit():
            raise BadInput(f"{self.path} is no checkpoint of a training: remove it, or choose another folder")
        if head["format_version"] != str(FORMAT):
            raise BadInput(f"{self.path} has format {head['format_version']}, and this isthmus reads {FORMAT}")
        differing = _differences(json.loads(head["identity"]), self.identity)
        if differing:
            raise BadInput(
                f"{self.folder} holds another training: {'; '.join(differing[:4])}. Choose another folder, or begin "
                "anew in this one (--fresh)"
            )
        own = {n.removeprefix("module."): x for n, x in tensors.items() if n.startswith("module.")}
        fits(self.module, own, self.path)
        self.module.load_state_dict(own)
        state: dict[int, dict[str, Tensor]] = {}
        for name, x in tensors.items():
            if name.startswith("optimizer."):
                _, number, field = name.split(".", 2)
                state.setdefault(int(number), {})[field] = x
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(tensors["rng.torch"])
        if torch.cuda.is_available():
            states = [tensors[f"rng.cuda.{i}"] for i in range(torch.cuda.device_count()) if f"rng.cuda.{i}" in tensors]
            torch.cuda.set_rng_state_all(states)
        kind, position, has_gauss, gauss = json.loads(head["numpy"])
        np.random.set_state((kind, tensors["rng.numpy"].numpy().astype(np.uint32), position, has_gauss, gauss))
        version, inner, following = json.loads(head["python"])
        random.setstate((version, tuple(inner), following))
        return int(head["done"])


def fits(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise `BadInput`, naming what differs, unless `tensors` are those of the module's state."""
    wanted = {name: tuple(x.shape) for name, x in module.state_dict().items()}
    found = {name: tuple(x.shape) for name, x in tensors.items()}
    wrong = [f"{n} is {found[n]} there and {wanted[n]} here" for n in wanted if n in found and found[n] != wanted[n]]
    missing, strange = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    wrong += [f"it lacks {', '.join(missing[:3])}"] if missing else []
    wrong += [f"it has {', '.join(strange[:3])} too"] if strange else []
    if wrong:
        raise BadInput(f"{path} is a checkpoint of another architecture: {'; '.join(wrong[:4])}")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; what a killed process left unfinished at the end is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            break
        if isinstance(row, dict) and isinstance(row.get("step"), int) and "processor_seconds" in row:
            rows.append(row)
    return rows


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path} cannot be read as a checkpoint ({error}): remove it to begin anew") from error


def _differences(there: Any, here: Any, name: str = "") -> list[str]:
    """Say in words where two nested records of settings differ."""
    if isinstance(there, dict) and isinstance(here, dict):
        return [
            line
            for key in dict.fromkeys([*there, *here])
            for line in _differences(there.get(key), here.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if there == here else [f"{name} is {there!r} there and {here!r} here"]


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _board(folder: Path, done: int) -> "SummaryWriter":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtra.of("tensorboard", "train", "logs for TensorBoard") from None
    return SummaryWriter(str(folder), purge_step=done + 1)  # figures of steps that are done again go
