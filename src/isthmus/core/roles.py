"""What kinds of thing a method can be. Protocols for tests and type checker; nothing inherits from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

__all__ = ["Encoder", "Objective", "Role", "Scorer", "SpaceMap", "Tokens", "Toy"]

Role = Literal[
    "objective",
    "space_map",
    "scorer",
    "coder",
    "encoder",
    "generator",
    "segmenter",
    "matcher",
    "graph",
    "procedure",
    "study",
]


class Tokens(NamedTuple):
    """Token vectors with their mask: `values` (n, t, d), `mask` (n, t), True where there is a token."""

    values: Any
    mask: Any


@dataclass(frozen=True)
class Toy:
    """A tiny working instance of a method, for tests, docs and the curious.

    `inputs` are the positional arguments of the role's call:

    - objective: ``loss(batch)``; space_map: ``fit(pairs)`` and then ``transform(modality, pairs[modality])``
    - scorer: ``fit(queries, gallery).score(queries, gallery)``; encoder, coder: ``encode(modality, x)``
    - generator: ``sample(condition, n, generator)``; segmenter: ``segment(x)``; matcher: ``match(a, b)``
    - graph: ``thing(*inputs)``; procedure and study have no call beyond the demo.

    `demo` needs nothing and returns plain numbers; `frozen` names parameters (as `named_parameters` does) that get
    no gradient by design, each with the reason.
    """

    thing: Any
    inputs: tuple[Any, ...]
    role: Role
    demo: Callable[[], Mapping[str, float]]
    frozen: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Objective(Protocol):
    """A differentiable training objective."""

    def loss(self, batch: Any) -> "Mapping[str, torch.Tensor]":
        """Return {"loss": scalar, …}."""
        ...


@runtime_checkable
class SpaceMap(Protocol):
    """Fitted on paired vectors {modality: (n, d)}; maps each modality into the common space."""

    def fit(self, pairs: Mapping[str, Any]) -> "SpaceMap":
        """Fit on paired vectors and return itself."""
        ...

    def transform(self, modality: str, x: Any) -> Any:
        """Map (n, d) vectors of a modality into the common space."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Corrects or computes a (queries, gallery) score matrix."""

    def fit(self, queries: Any, gallery: Any) -> "Scorer":
        """Fit on banks of queries and gallery vectors and return itself."""
        ...

    def score(self, queries: Any, gallery: Any) -> Any:
        """Return (queries, gallery) scores."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """Turns raw items of a modality into vectors (n, d)."""

    def encode(self, modality: str, x: Any) -> Any:
        """Return one vector an item."""
        ...
