"""Training two towers on items with texts in K languages, by 1-to-K contrast or by what it is compared with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.core.run import seeded
from isthmus.methods.objectives.one_to_k.loss import Balance, one_to_k_loss
from isthmus.parts.contrast import LogScale, gather_rows, info_nce
from isthmus.parts.train import Minibatches, synchronise, train

__all__ = ["RECIPES", "Languages", "Recipe", "Training", "fit_languages"]


@dataclass(frozen=True)
class Recipe:
    """A way to spend texts: `choose` says which languages of each item of a batch are read, `loss` compares them.

    `choose` takes which texts there are (b, K) and a generator, and gives (b, j) columns and (b, j) whether to count
    them; `loss` takes unit vectors v (b, d), t (b, j, d), what counts, the scale and the settings of the training.
    """

    choose: Callable[[Bool[Tensor, "b k"], torch.Generator], tuple[Int[Tensor, "b j"], Bool[Tensor, "b j"]]]
    loss: Callable[[Tensor, Tensor, Tensor, Tensor, "Training"], Tensor]
    texts: Callable[[int], int]
    """How many texts an item costs in a step, of K languages."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """The settings of the loop. Raises `BadInput` for numbers out of range."""

    steps: int = 300
    batch: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.03
    tau: float = 0.07
    balance: Balance = "repo"
    gather: bool = False
    tile: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2:
            raise BadInput(f"steps = {self.steps}, batch = {self.batch}; at least 1 step and 2 items are needed")
        if not (0 < self.lr < 1 and self.weight_decay >= 0 and 0 <= self.warmup < 1 and self.tau >= 0.01):
            raise BadInput(
                f"lr = {self.lr} must lie in (0, 1), warmup = {self.warmup} in [0, 1), weight_decay = "
                f"{self.weight_decay} at least at 0, tau = {self.tau} at least at 0.01"
            )


@dataclass
class Languages:
    """What training gave: what each step reported, and how many texts were read in all."""

    history: list[dict[str, float]] = field(repr=False)
    texts: int
    tau: float


def _all(present: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.arange(present.shape[1]).expand(present.shape), present


def _any(present: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One language of those that an item has, each alike."""
    one = torch.multinomial(present.float(), 1, generator=generator)
    return one, torch.ones_like(one, dtype=torch.bool)


def _pivot(present: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The first language, and another one where there is one."""
    others = present.clone().float()
    others[:, 0] = 0
    alone = others.sum(1) == 0
    others[alone, 0] = 1
    second = torch.multinomial(others, 1, generator=generator)
    return torch.cat([torch.zeros_like(second), second], 1), torch.stack([present[:, 0], ~alone], 1)


def _one_to_k(v: Tensor, t: Tensor, counts: Tensor, scale: Tensor, training: Training) -> Tensor:
    return one_to_k_loss(
        v,
        t.flatten(0, 1),
        t.shape[1],
        1 / scale,
        balance=training.balance,
        present=counts,
        gather=training.gather,
        tile=training.tile,
    )


def _one_to_one(v: Tensor, t: Tensor, counts: Tensor, scale: Tensor, training: Training) -> Tensor:
    return _contrast(v, t[:, 0], scale, training)


def _through_pivot(v: Tensor, t: Tensor, counts: Tensor, scale: Tensor, training: Training) -> Tensor:
    """Item with pivot, and pivot with the other language."""
    return (
        _contrast(v, t[:, 0], scale, training, counts[:, 0])
        + _contrast(t[:, 0], t[:, 1], scale, training, counts.all(1))
    ) / 2


def _triangle(v: Tensor, t: Tensor, counts: Tensor, scale: Tensor, training: Training) -> Tensor:
    """All three sides of item, pivot and the other language."""
    sides = ((v, t[:, 0], counts[:, 0]), (v, t[:, 1], counts[:, 1]), (t[:, 0], t[:, 1], counts.all(1)))
    return torch.stack([_contrast(a, b, scale, training, has) for a, b, has in sides]).mean()


def _contrast(a: Tensor, b: Tensor, scale: Tensor, training: Training, has: Tensor | None = None) -> Tensor:
    if training.gather:
        a, b = gather_rows(a), gather_rows(b)
        has = None if has is None else gather_rows(has.byte()).bool()
    if has is not None:
        if not bool(has.any()):
            return (a.sum() + b.sum()) * 0
        a, b = a[has], b[has]
    return info_nce(a, b, scale=scale)


RECIPES: Mapping[str, Recipe] = {
    "one_to_k": Recipe(_all, _one_to_k, lambda k: k),
    "random_language": Recipe(_any, _one_to_one, lambda k: 1),
    "pivot": Recipe(_pivot, _through_pivot, lambda k: min(k, 2)),
    "triangle": Recipe(_pivot, _triangle, lambda k: min(k, 2)),
}
"""1-to-K; one language an item and step (CCLM); item–English and English–other; both of these and item–other (CACL)."""


def fit_languages(
    item: nn.Module,
    text: nn.Module,
    items: Tensor,
    texts: Tensor,
    *,
    recipe: str = "one_to_k",
    present: Bool[Tensor, "n k"] | None = None,
    training: Training | None = None,
    progress: Progress = silent,
) -> Languages:
    """Train two towers together, in place, and return what happened; they are left in evaluation mode.

    `items` (n, …) are what the tower `item` takes: pictures, feature maps, spectra of recordings, pooled vectors.
    `texts` (n, K, …) are the same of the tower `text`, in K languages, the pivot first; where `present` (n, K) is False
    there is no text. A language that is present nowhere is one that the towers are asked in without training (zero
    shot); to add it from few items, call this again on the trained towers with those items (few shot).

    Raises:
        BadInput: for shapes that do not fit, fewer than 2 items, or an item without a text.
        NotFound: for an unknown recipe.
    """
    training = training or Training()
    if recipe not in RECIPES:
        raise NotFound.named("recipe", recipe, RECIPES)
    n = len(items)
    if texts.ndim < 3 or len(texts) != n or n < 2:
        raise BadInput(
            f"training needs items (n, …) and texts (n, K, …), got {tuple(items.shape)}, {tuple(texts.shape)}"
        )
    given = torch.ones(texts.shape[:2], dtype=torch.bool) if present is None else present
    if given.shape != texts.shape[:2] or not bool(given.any(1).all()):
        raise BadInput(f"present must be ({n}, {texts.shape[1]}) with a text of each item, got {tuple(given.shape)}")
    way = RECIPES[recipe]
    generator = torch.Generator().manual_seed(training.seed)
    scale = LogScale(training.tau)
    trained = [*item.parameters(), *text.parameters(), *scale.parameters()]
    size = min(training.batch, n)
    batches = Minibatches(n, size, -(-training.steps // (n // size)), generator)
    read = 0

    def step(rows: Tensor) -> Mapping[str, Tensor]:
        nonlocal read
        columns, counts = way.choose(given[rows], generator)
        asked = texts[rows.unsqueeze(1), columns]
        v = nn.functional.normalize(item(items[rows]), dim=-1)
        t = nn.functional.normalize(text(asked.flatten(0, 1)), dim=-1).view(*columns.shape, -1)
        read += int(counts.sum())
        now = scale()
        return {"loss": way.loss(v, t, counts, now, training), "tau": 1 / now}

    with seeded(training.seed), synchronise(trained):
        item.train()
        text.train()
        history = train(
            step,
            trained,
            batches,
            lr=training.lr,
            weight_decay=training.weight_decay,
            warmup=training.warmup,
            total=training.steps,
            stop=lambda done: done >= training.steps,
            progress=progress,
        )
    item.eval()
    text.eval()
    return Languages(history, read, history[-1]["tau"])
