"""A batch of items seen through several modalities, some of which may be absent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from isthmus.core.errors import BadInput

if TYPE_CHECKING:
    import torch

__all__ = ["Batch"]


@dataclass(frozen=True)
class Batch:
    """`x` maps a modality to (n, …); `mask` to (n,) booleans, True where the item has that modality.

    Absence is a mask, never a zero vector. A modality that is not in `mask` is present everywhere.
    `y` holds (n,) labels or keys where a task has them.
    """

    x: "Mapping[str, torch.Tensor]"
    mask: "Mapping[str, torch.Tensor]" = field(default_factory=dict)
    y: "torch.Tensor | None" = None

    def __post_init__(self) -> None:
        sizes = {m: len(v) for m, v in self.x.items()}
        if not sizes or len(set(sizes.values())) != 1:
            raise BadInput(f"a batch needs the same number of rows in every modality, got {sizes}")
        for modality, mask in self.mask.items():
            if modality not in sizes or tuple(mask.shape) != (len(self),):
                raise BadInput(
                    f"mask of {modality!r} has shape {tuple(mask.shape)}; expected ({len(self)},) "
                    f"for one of {sorted(sizes)}"
                )

    def __len__(self) -> int:
        return len(next(iter(self.x.values())))

    def present(self, *modalities: str) -> "torch.Tensor":
        """Return (n,) booleans: True where the item has all of `modalities`."""
        import torch

        first = self.x[modalities[0]]
        both = torch.ones(len(self), dtype=torch.bool, device=first.device)
        for modality in modalities:
            if modality in self.mask:
                both &= self.mask[modality]
        return both
