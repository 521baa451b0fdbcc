"""Items that several modalities share: which records belong together, and batches of them to train on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.core.errors import BadInput, NotFound
from isthmus.parts.train import ByDomain, Minibatches

__all__ = ["Items"]


@dataclass(frozen=True)
class Items:
    """Which records of each modality belong to an item, and how to draw some.

    `members` {modality: (starts (n + 1,), records)} lists the records of each item, `numbers` {modality: (rows,)}
    the item of each record, −1 for a record whose item no other modality has, `weights` {modality: (rows,)} how much
    each record counts within its item; `domain` (n,) numbers the domain of each item, `counts` (n,) is its emphasis.
    """

    n: int
    members: Mapping[str, tuple[Tensor, Tensor]]
    numbers: Mapping[str, np.ndarray]
    weights: Mapping[str, np.ndarray]
    domain: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(
        cls,
        sizes: Mapping[str, int],
        *,
        keys: Mapping[str, Any] | None = None,
        weights: Mapping[str, Any] | None = None,
        domains: Mapping[str, Any] | None = None,
        emphasis: Mapping[str, float] | None = None,
    ) -> "Items":
        """Group records of `sizes` {modality: rows} by key; items that only one modality has are left out.

        Records of different modalities belong together when their `keys` {modality: (n,)} are equal, however many
        records of a modality share one; without keys, row i belongs to row i. `weights` {modality: (n,)} says how
        much each record counts within its item, `domains` {modality: (n,)} where it comes from, `emphasis` {domain:
        number} how much its items count.

        Raises:
            BadInput: for fewer than two modalities, keys, weights or domains that do not fit the rows, fewer than two
                items that two modalities share, or emphasis without domains.
            NotFound: for a modality or a domain that is not there.
        """
        for name, given in (("keys", keys), ("weights", weights), ("domains", domains)):
            if unknown := sorted(set(given or {}) - set(sizes)):
                raise NotFound.named(f"modality of {name}", unknown[0], sizes)
        if emphasis and not domains:
            raise BadInput("emphasis says how much a domain counts: give domains too")
        weights, domains, emphasis = weights or {}, domains or {}, emphasis or {}
        if len(sizes) < 2:
            raise BadInput(f"at least two modalities are needed, got {list(sizes)}")
        if keys is None:
            if len(set(sizes.values())) > 1:
                raise BadInput(f"without keys every modality needs the same number of rows, got {dict(sizes)}")
            keys = {m: np.arange(n) for m, n in sizes.items()}
        named = {m: np.asarray(keys[m]) if m in keys else np.empty(0) for m in sizes}
        wrong = {m: (named[m].shape, n) for m, n in sizes.items() if named[m].shape != (n,)}
        if wrong:
            raise BadInput(f"keys need one entry a row; (shape, rows) are {wrong}")
        for m, own in named.items():
            if own.dtype.kind == "O" or (own.dtype.kind == "f" and np.isnan(own).any()):
                missing = [i for i, key in enumerate(own.tolist()) if key is None or key != key]
                if missing:
                    raise BadInput(f"keys of {m!r} are missing in {len(missing)} rows, the first is {missing[0]}")
        held, count = np.unique(np.concatenate([np.unique(k) for k in named.values()]), return_counts=True)
        shared = held[count > 1]
        if len(shared) < 2:
            raise BadInput(f"at least 2 items must be in two modalities, found {len(shared)}; are the keys the same?")
        members, numbers = {}, {}
        for m, own in named.items():
            place = np.searchsorted(shared, own).clip(max=len(shared) - 1)
            numbers[m] = np.where(shared[place] == own, place, -1)
            records = np.flatnonzero(numbers[m] >= 0)
            if not len(records):
                raise BadInput(f"no item of {m!r} is in another modality; are the keys the same?")
            order = records[np.argsort(place[records], kind="stable")]
            starts = np.searchsorted(place[order], np.arange(len(shared) + 1))
            members[m] = (torch.from_numpy(starts), torch.from_numpy(order))
        counted = {m: np.asarray(weights.get(m, np.ones(n)), dtype=np.float64) for m, n in sizes.items()}
        for m, weight in counted.items():
            if weight.shape != (sizes[m],) or not (np.isfinite(weight) & (weight > 0)).all():
                raise BadInput(f"weights of {m!r} must be {sizes[m]} finite numbers above 0, got shape {weight.shape}")
        domain, counts = _domains(len(shared), numbers, domains, emphasis)
        return cls(len(shared), members, numbers, counted, domain, counts)

    def batches(self, size: int, steps: int, generator: torch.Generator) -> Minibatches | ByDomain:
        """Return batches of items for at least `steps` steps, each of one domain where there are several."""
        if self.domain.any():
            return ByDomain(self.domain, self.counts, size, steps, generator)
        size = min(size, self.n)
        return Minibatches(self.n, size, -(-steps // max(1, self.n // size)), generator)

    def draw(self, chosen: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return one random record of each chosen item in each modality, −1 where it has none."""
        rows = {}
        for m, (starts, records) in self.members.items():
            # All records end to end, each as long as its weight: draw a point in the stretch of each item.
            lengths = torch.from_numpy(self.weights[m])[records]
            ends = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
            first, last = starts[chosen], starts[chosen + 1] - 1
            low, high = ends[first], ends[last + 1]
            point = low + torch.rand(len(chosen), generator=generator, dtype=low.dtype) * (high - low)
            pick = (torch.searchsorted(ends, point, right=True) - 1).clamp(first, last.clamp(min=0))
            rows[m] = torch.where(last >= first, records[pick.clamp(0, len(records) - 1)], -1)
        return rows


def _domains(
    n: int, numbers: Mapping[str, np.ndarray], domains: Mapping[str, Any], emphasis: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each item's domain and its emphasis, which is 1 on the average."""
    if not domains:
        return np.zeros(n, int), np.ones(n)
    wrong = {m: np.shape(domains.get(m, ())) for m, own in numbers.items() if np.shape(domains.get(m, ())) != own.shape}
    if wrong:
        raise BadInput(f"domains need one entry a row; {', '.join(wrong)} got shape {wrong}")
    named = {m: np.asarray(d).astype(str) for m, d in domains.items()}
    names = np.unique(np.concatenate(list(named.values())))
    wanted = {str(name): value for name, value in emphasis.items()}
    if unknown := sorted(set(wanted) - set(names.tolist())):
        raise NotFound.named("domain", unknown[0], names.tolist())
    each = np.array([wanted.get(str(name), 1.0) for name in names])
    if not (np.isfinite(each) & (each > 0)).all():
        raise BadInput(f"emphasis must be a number above 0, got {dict(emphasis)}")
    domain = np.full(n, -1)
    for m, own in numbers.items():
        place = np.searchsorted(names, named[m])
        shared = own >= 0
        domain[own[shared]] = np.maximum(domain[own[shared]], place[shared])
    for m, own in numbers.items():
        place = np.searchsorted(names, named[m])
        if (bad := np.flatnonzero((own >= 0) & (domain[own] != place))).size:
            raise BadInput(f"row {bad[0]} of {m!r} is of another domain than other records of its item")
    counts = each[domain]
    return domain, counts / counts.mean()
