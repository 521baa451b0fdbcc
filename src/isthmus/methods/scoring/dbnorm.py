"""Hubs out of cross-modal search with a query bank and a gallery bank: DualIS and DualDIS (wang2023).

**What you get.** One number a gallery item, from training queries and training items you already have, that takes
hubs (items that come first for far too many queries) out of every search: `DualIS`. Nothing is trained, and corrected
search is as fast as plain search, because the number is one more dimension of the index. `DualDIS` decides query
by query which bank to believe. The peers with the same interface are in `parts.correctors`.

**The idea.** A hub lies close to most points of *both* modalities. So ask two banks how popular item j is: training
queries (B_q, their scores against the gallery) and training items of the gallery's own modality (B_g); then divide
each score by both popularities, softly: an inverse temperature β says how much the nearest bank entries decide.

**Equations.** With S (queries × gallery), B_q and B_g (bank × gallery), η_B(q, j) = e^{βS_qj} / Σ_b e^{βB_bj} (IS):

    DualIS   η = η_g · η_q,  log η = (β_g + β_q) S_qj − log Σ_b e^{β_g B_g[b,j]} − log Σ_b e^{β_q B_q[b,j]}
    that is  S_qj − b_j,     b_j = (β_g m_g(j) + β_q m_q(j)) / (β_g + β_q),   m(j) = (1/β) log mean_b e^{βB_bj}
    DualDIS  the same product; a factor takes part where the query's best item is in that bank's activation set
             A = items that are among the first k of some bank entry

**Relations** (each one a test)
- β_g → 0 → IS on the query bank; β_q → 0 → IS on the gallery bank.
- the log form → the order of the product of exponentials, where that does not overflow.
- `bias` as one more dimension of the index → the scores of `score`.
- bank scores equal in all columns → the order as it was; the order of a bank, or a bank twice → nothing.
- a constant added to a query's row → its order as it was.
- both activation sets empty → the scores as they are; both full → `DualIS`; the gallery's empty → DIS.

**Departures**
- *The released `db_norm` is wrong as written*: it normalises the gallery bank's matrix in the place of the test
  matrix, which it never uses. This is written from the equations.
- *Scale*: scores stay on the scale of S (log η over β_g + β_q, means for sums), so that they compare between queries,
  with thresholds and in fusion, and nothing overflows; the order within a query is the paper's.
- *A factor that is off* is left out of `DualDIS`. The paper puts the plain row S_q there: a product of a cosine with
  an exponential, which ranks upside down where cosines are negative, and ranks by S² where both are off.
- *Banks* leave out what is of the item's own group (`groups`); with the paper's disjoint splits there is no such thing.
- *Settings* are tuned on validation queries (`parts.correctors.tune`), and the plain scores stay where nothing helps.

>>> import numpy as np
>>> items = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.9, 0.9, 0.3]])  # the last one is close to everything
>>> bank = np.array([[0.9, 0.4, 0.0], [0.4, 0.9, 0.0], [0.9, 0.4, 0.2], [0.4, 0.9, 0.2]])
>>> queries = np.array([[1.0, 0.3, 0.0], [0.3, 1.0, 0.0]])
>>> (queries @ items.T).argmax(1).tolist(), DualIS().fit(bank, items).score(queries, items).argmax(1).tolist()
([2, 2], [0, 1])
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float

from isthmus.core.card import Card, Claim
from isthmus.core.errors import BadInput
from isthmus.core.report import Report
from isthmus.core.roles import Toy
from isthmus.core.run import Run
from isthmus.metrics.hubness import hubness_skewness, k_occurrence_of
from isthmus.metrics.vectors import unit
from isthmus.parts.correctors import (
    BANK,
    BETAS,
    CSLS,
    NNN,
    Correction,
    Corrector,
    DistributionNormalised,
    DynamicInvertedSoftmax,
    Fold,
    GloballyCorrected,
    Grid,
    InvertedSoftmax,
    Uncorrected,
    tune,
)
from isthmus.parts.hubness import Bank, PerItem, Scores, active_items, log_mean_exp
from isthmus.tasks.features import Features, features
from isthmus.tasks.retrieval import TASK, Held

__all__ = ["CARD", "DualDIS", "DualIS", "dual_bias", "gated", "run", "toy"]

CARD = Card(
    title="Balance Act: Mitigating Hubness in Cross-Modal Retrieval with Query and Gallery Banks",
    authors=("Yimu Wang", "Xiangru Jian", "Bo Xue"),
    year=2023,
    link="https://arxiv.org/abs/2310.11612",
    summary="Takes hubs out of search with one number an item, from banks of training queries and items (DualIS).",
    needs=("vectors, or scores, of a finished space", "training queries and training items as banks"),
    gives=("corrected scores", "a bias of each item for any vector index"),
    modalities=("image", "text"),
    claim=Claim(
        task="retrieval.v1",
        metric="r@1",
        better="validated corrector",
        than="raw",
        margin=0.005,
        control="random_encoder",
    ),
    facts=("deterministic", "float64", "numpy_only", "streaming"),
    gaps=(
        "measured on drawings with names in five languages; between Tux Paint's captions and recordings there is "
        "nothing to gain (R@1 .310 with and without); video takes the same call but was not measured",
        "the composition with InvGC waits for that method",
        "on the three bases of the claim IS, with one bank, does better than DualIS; a strong space gains little",
        "the claim held (+.0103) while any gain on validation was enough, which harms spaces without hubs; now that a "
        "gain must exceed two standard errors, and raw too chooses a direction at a time, it is +.0037 and does not",
    ),
    uses={"correct": "DualIS", "correct dual_is": "DualIS", "correct dual_dis": "DualDIS"},
    delivers={
        "one interface: is, dis, csls, gc, nnn, dn, none": "isthmus.parts.correctors.Corrector",
        "dual_is": "DualIS",
        "dual_dis": "DualDIS",
        "dual_softmax": "isthmus.parts.correctors.DualSoftmax",
        "banks from train queries and gallery": "isthmus.parts.hubness.Bank, isthmus.workbench.correct.corrections",
        "sub-sampling": "isthmus.parts.hubness.subsample",
        "streaming LSE": "tests/parts/test_hubness.py::test_no_table_of_bank_and_gallery_is_held",
        "index-time export for exact and ANN indexes": "tests/index/test_corrected.py::test_any_backend_serves_it",
        "validation tuner with no-harm fallback": "isthmus.parts.correctors.tune",
        "hubness report": "isthmus.workbench.hubs.hub_report",
        "plots: N_k before and after, top hubs": "isthmus.workbench.report_page.hub_section.hub_section",
        "R@k, MdR, MnR, geometric mean, multi-positive": "isthmus.metrics.summary.summary",
        "both directions": "isthmus.workbench.evaluate.evaluate",
        "CLI taking .npy similarity matrices": "isthmus.cli.correct.correct",
        "pipeline with InvGC": "missing: waits for the method invgc, whose vectors go into fit and score as they are",
        "text-image example": "tests/workbench/test_correct.py::test_the_example",
        "text-audio example (examples/correct_hubs.py --pair text:speech)": "tests/workbench/test_correct.py::"
        "test_the_example_between_other_modalities",
        "text-video example": "missing: no video is bundled",
    },
)


def dual_bias(query_bank: Bank, gallery_bank: Bank, *, beta_query: float, beta_gallery: float) -> PerItem:
    """Return b_j = (β_g m_g(j) + β_q m_q(j)) / (β_g + β_q), what DualIS takes off item j (n,).

    Raises `BadInput` for inverse temperatures that are negative, not finite, or both 0.
    """
    total = beta_query + beta_gallery
    if not 0 < total < np.inf:
        raise BadInput(f"beta_query = {beta_query}, beta_gallery = {beta_gallery}; finite, and one of them above 0")
    of_queries, of_gallery = log_mean_exp(query_bank, beta_query), log_mean_exp(gallery_bank, beta_gallery)
    return np.asarray((beta_gallery * of_gallery + beta_query * of_queries) / total)


def gated(
    scores: Scores, query_bank: Bank, gallery_bank: Bank, *, beta_query: float, beta_gallery: float, k: int = 1
) -> Scores:
    """Return DualDIS: S_qj less the bias of each bank's factor that takes part in the row, over the β that do.

    A factor takes part where the query's best item is among the first `k` of some entry of its bank.
    """
    if not min(beta_query, beta_gallery) > 0:
        raise BadInput(f"beta_query = {beta_query}, beta_gallery = {beta_gallery}; DualDIS needs both above 0")
    both = dual_bias(query_bank, gallery_bank, beta_query=beta_query, beta_gallery=beta_gallery)
    alone = log_mean_exp(query_bank, beta_query), log_mean_exp(gallery_bank, beta_gallery)
    biases = np.stack([np.zeros_like(both), *alone, both])
    factors = active_items(query_bank, k) + 2 * active_items(gallery_bank, k)
    return np.asarray(scores - biases[factors[scores.argmax(1)]])


class DualIS(Corrector):
    """DualIS: S_qj − b_j, `b` from both banks (`dual_bias`). The module says what `fit`, `score` and `bias` take."""

    needs: ClassVar[tuple[Literal["query", "gallery"], ...]] = ("query", "gallery")
    GRID: ClassVar[Grid] = {"beta_query": BETAS, "beta_gallery": BETAS}

    def __init__(
        self, *, beta_query: float = 20.0, beta_gallery: float = 20.0, bank: int = BANK, seed: int = 0
    ) -> None:
        self.beta_query, self.beta_gallery, self.bank, self.seed = beta_query, beta_gallery, bank, seed

    def correction(self, queries: Bank, gallery: Bank) -> Correction:
        """Take off `dual_bias`."""
        return Correction.less(dual_bias(queries, gallery, beta_query=self.beta_query, beta_gallery=self.beta_gallery))


class DualDIS(Corrector):
    """DualDIS (`gated`): each bank's factor only for queries whose best item is among the first `k` of its entries."""

    needs: ClassVar[tuple[Literal["query", "gallery"], ...]] = ("query", "gallery")
    per_item: ClassVar[bool] = False
    why: ClassVar[str] = (
        "each bank counts only for queries whose best item it has made active, which shows when a query has been "
        "scored; the same without that gate is 'dual_is'"
    )
    GRID: ClassVar[Grid] = {"beta_query": BETAS, "beta_gallery": BETAS}

    def __init__(
        self, *, beta_query: float = 20.0, beta_gallery: float = 20.0, k: int = 1, bank: int = BANK, seed: int = 0
    ) -> None:
        self.beta_query, self.beta_gallery, self.k, self.bank, self.seed = beta_query, beta_gallery, k, bank, seed

    def correction(self, queries: Bank, gallery: Bank) -> Correction:
        """Take off what the factors that take part say."""
        settings: dict[str, Any] = {"beta_query": self.beta_query, "beta_gallery": self.beta_gallery, "k": self.k}
        return Correction(lambda scores: gated(scores, queries, gallery, **settings))


def toy() -> Toy:
    """Return DualIS on 40 queries and 30 items that share a direction, as the vectors of real encoders do."""
    rng = np.random.default_rng(0)
    items, words = _cone(rng, 30, 8), _cone(rng, 40, 8)

    def demo() -> dict[str, float]:
        fitted = DualIS().fit(words, items)
        before = k_occurrence_of(words @ items.T, 3)
        after = k_occurrence_of(fitted.score(words, items), 3)
        return {"skewness before": hubness_skewness(before), "after": hubness_skewness(after)}

    return Toy(thing=DualIS(), inputs=(words, items), role="scorer", demo=demo)


def _cone(rng: np.random.Generator, n: int, d: int) -> Float[np.ndarray, "n d"]:
    return unit(rng.standard_normal((n, d)) + 1.0).astype(np.float32)


# ------------------------------------------------------------------ the experiment

LANGUAGES = ("en", "es", "de", "ja", "zh")
FAR = "ar"
"""A language that no base was trained on: the captions of a bank that does not fit."""
PEERS: Mapping[str, type[Corrector]] = {
    "is": InvertedSoftmax,
    "dis": DynamicInvertedSoftmax,
    "csls": CSLS,
    "gc": GloballyCorrected,
    "nnn": NNN,
    "dn": DistributionNormalised,
    "dual_is": DualIS,
    "dual_dis": DualDIS,
}
EFFORT = 49
"""Settings that every arm searches; GC has none."""
FINE = tuple(np.geomspace(1, 100, EFFORT))
GRIDS: Mapping[str, Grid] = {
    "is": {"beta": FINE},
    "dis": {"beta": FINE},
    "csls": {"k": (*range(1, EFFORT), 100)},
    "nnn": {"k": (1, 8, 16, 32, 64, 128, 512), "alpha": (0.25, 0.4, 0.5, 0.6, 0.75, 1.0, 1.5)},
    "dn": {"weight": tuple(np.linspace(0.03, 1.47, EFFORT))},
}
"""Finer than what `tune` tries by default, so that no peer is looked for less than DualIS."""
UNFIT = ("is", "dis", "dual_is", "dual_dis")
"""Those that are measured with banks that do not fit, too."""
Mapped = dict[str, Float[np.ndarray, "n d"]]
Direction = tuple[str, str]
Fit = Callable[..., Callable[[float], Any]]


def run(ctx: Run) -> Report:
    """Find held-out concepts' pictures by name in five languages and back, in three spaces, corrected or not.

    The spaces ("bases") are ridge regression and canonical correlation analysis of the training concepts, and ridge
    on a quarter of them. Either arm searches 49 settings a choice on the same validation concepts, inside the
    training part, a direction at a time: "raw" the penalty of each base; "validated corrector" the inverse temperatures
    of DualIS on the base that raw chose, with the plain scores where none helps. Under the control the banks are random
    directions. Then all is
    fitted again on all training concepts, which are the banks too. Peers search 49 settings in the same way (`GRIDS`).

    At small and full: OpenMoji pictures by EfficientNet-Lite0 and names by E5, 800 concepts held out. At smoke the
    features are made, with a direction in common. The metrics are means over the three bases.
    """
    world = _made(ctx) if ctx.budget == "smoke" else _openmoji(ctx)
    held, validated = ctx.pick(smoke=(80, 60), small=(800, 400), full=(800, 400))
    data = TASK.make(ctx.seed, held, keys=world.of("keys"), groups=world.of("groups"))
    inner = TASK.make(
        ctx.derived("validation"),
        validated,
        keys={m: k[data.train[m]] for m, k in world.of("keys").items()},
        groups={m: g[data.train[m]] for m, g in world.of("groups").items()},
    )
    inner = Held(
        inner.keys,
        {m: data.train[m][rows] for m, rows in inner.rows.items()},
        {m: data.train[m][rows] for m, rows in inner.train.items()},
    )
    fixed = {"bank": ctx.pick(smoke=60, small=BANK, full=BANK), "seed": ctx.derived("bank")}
    arms: dict[str, list[dict[str, Any]]] = {}
    for base, (fit, share) in BASES.items():
        search = np.geomspace(1e-3, 1e2, EFFORT)
        spaces, final = world.fitted(fit, inner, share, ctx), world.fitted(fit, data, share, ctx)
        found = [_mrr(inner, spaces(penalty)) for penalty in search]
        penalty = {d: float(search[int(np.argmax([mrr[d] for mrr in found]))]) for d in inner.directions}
        before, after = ({d: of(penalty[d]) for d in penalty} for of in (spaces, final))
        folds = {d: _fold(before[d], inner, d, _banks(inner, before[d], ctx)) for d in before}
        tuned = {
            name: {d: tune({name: cls}, [folds[d]], fallback=False, fixed=fixed, grids=_grids(name)) for d in folds}
            for name, cls in PEERS.items()
        }
        tuned["validated corrector"] = {d: tune({"dual_is": DualIS}, [folds[d]], fixed=fixed) for d in folds}
        chosen = {
            **{f"{a} to {b} penalty": value for (a, b), value in penalty.items()},
            "searched": len(search),
            "validation mrr": float(np.mean([max(mrr[d] for mrr in found) for d in penalty])),
            "data": world.data,
        }
        tests: dict[str, dict[Direction, Fold]] = {}
        for d, space in after.items():
            for bank, vectors in {"": _banks(data, space, ctx), **_unfit(world, data, space, ctx)}.items():
                tests.setdefault(bank, {})[d] = _fold(space, data, d, vectors)
        _add(arms, "raw", base, _score(data, tests[""], dict.fromkeys(folds, Uncorrected(**fixed))), chosen)
        for name, of in tuned.items():
            for bank in tests if name in UNFIT else [""]:
                figures = _score(data, tests[bank], {d: t.corrector for d, t in of.items()})
                _add(arms, f"{name}{bank}", base, figures, {f"{a}_to_{b}": t.to_json() for (a, b), t in of.items()})
    rows = [_mean(arm, found) for arm, found in arms.items()]
    rows.append({"arm": "chance", **TASK.score(data, TASK.chance(data, ctx.derived("chance"))), "settings": {}})
    rows.append({"arm": "best", **TASK.score(data, TASK.best(data)), "settings": {}})
    return Report(rows)


@dataclass(frozen=True)
class World:
    """Vectors of pictures and of their names; `far` are names in a language that is in neither training nor test."""

    image: Features
    text: Features
    far: Features
    data: str

    def of(self, field: str) -> dict[str, np.ndarray]:
        """Return a field of both modalities."""
        return {"image": getattr(self.image, field), "text": getattr(self.text, field)}

    def fitted(self, fit: Fit, data: Held, share: float, ctx: Run) -> Callable[[float], Mapped]:
        """Fit a base on a share of the training concepts: pictures, and the mean of each one's names."""
        rows = data.train["image"]
        if share < 1:
            rows = np.sort(ctx.rng("share").permutation(rows)[: round(share * len(rows))])
        place = {key: i for i, key in enumerate(self.image.keys[rows].tolist())}
        names = np.array([i for i in data.train["text"] if self.text.keys[i] in place])
        mean = np.zeros((len(rows), self.text.x.shape[1]))
        np.add.at(mean, [place[key] for key in self.text.keys[names].tolist()], self.text.x[names])
        mean /= np.bincount([place[key] for key in self.text.keys[names].tolist()], minlength=len(rows))[:, None]
        spaces = fit(self.image.x[rows], mean, self.image.x, np.concatenate([self.text.x, self.far.x]))

        def space(penalty: float) -> Mapped:
            image, text = spaces(penalty)
            return {"image": image, "text": text[: len(self.text.x)], "far": text[len(self.text.x) :]}

        return space


def _ridge(x: np.ndarray, y: np.ndarray, images: np.ndarray, texts: np.ndarray) -> Callable[[float], Any]:
    """Map pictures to the mean of their names; the penalty is in units of the mean variance."""
    centre, spread, values, vectors = _gram(x)
    middle = y.mean(0)
    target = vectors.T @ (y - middle)
    seen = ((images - centre) / spread) @ (((x - centre) / spread).T @ vectors)
    text = unit(texts - middle).astype(np.float32)
    scale = values.sum() / len(values)
    return lambda penalty: (unit((seen / (values + penalty * scale)) @ target).astype(np.float32), text)


def _correlations(x: np.ndarray, y: np.ndarray, images: np.ndarray, texts: np.ndarray) -> Callable[[float], Any]:
    """Regularised canonical correlations, weighted by their root; pictures by their first principal axes."""
    centre, spread, values, vectors = _gram(x)
    kept = np.argsort(-values)[:256]
    roots = np.sqrt(values[kept])
    left = ((images - centre) / spread) @ (((x - centre) / spread).T @ (vectors[:, kept] / roots))
    middle = y.mean(0)
    axes = np.linalg.svd(y - middle, full_matrices=False)[1:]
    right = (texts - middle) @ axes[1].T
    cross = (vectors[:, kept] * roots).T @ ((y - middle) @ axes[1].T)
    own_left, own_right = values[kept], axes[0] ** 2

    def space(penalty: float) -> Any:
        a = 1 / np.sqrt(own_left + penalty * own_left.mean())
        b = 1 / np.sqrt(own_right + penalty * own_right.mean())
        u, s, v = np.linalg.svd(a[:, None] * cross * b, full_matrices=False)
        width = min(128, len(s))
        weight = np.sqrt(s[:width])
        first = left @ (a[:, None] * u[:, :width] * weight)
        second = right @ (b[:, None] * v[:width].T * weight)
        return unit(first).astype(np.float32), unit(second).astype(np.float32)

    return space


def _gram(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return centre, spread, and the positive eigenvalues and vectors of the Gram matrix of standardised rows."""
    centre = x.mean(0, dtype=np.float64)
    spread = x.std(0, dtype=np.float64) + 1e-6
    rows = (x - centre) / spread
    values, vectors = np.linalg.eigh(rows @ rows.T)
    kept = values > 1e-9 * values[-1]
    return centre, spread, values[kept], vectors[:, kept]


BASES: Mapping[str, tuple[Fit, float]] = {
    "ridge": (_ridge, 1.0),
    "correlations": (_correlations, 1.0),
    "weak ridge": (_ridge, 0.25),
}


def _grids(name: str) -> dict[str, Grid]:
    return {name: GRIDS[name]} if name in GRIDS else {}


def _banks(data: Held, space: Mapped, ctx: Run) -> Mapped:
    """Return the vectors of the training items; under the control random directions, which know of no hub."""
    banks = {m: space[m][rows] for m, rows in data.train.items()}
    if ctx.control == "random_encoder":
        rng = ctx.rng("control")
        return {m: unit(rng.standard_normal(x.shape)).astype(np.float32) for m, x in banks.items()}
    return banks


def _unfit(world: World, data: Held, space: Mapped, ctx: Run) -> dict[str, Mapped]:
    """Return banks that do not fit: the names of training concepts in a far language, and five concepts alone."""
    trained = world.text.keys[data.train["text"]]
    few = ctx.rng("few").permutation(np.unique(trained))[:5]
    five = {m: space[m][rows[np.isin(world.of("keys")[m][rows], few)]] for m, rows in data.train.items()}
    far = {**_banks(data, space, ctx), "text": space["far"][np.isin(world.far.keys, trained)]}
    return {", far bank": far, ", five concepts": five}


def _fold(space: Mapped, data: Held, direction: tuple[str, str], banks: Mapped) -> Fold:
    a, b = direction
    return Fold(
        queries=space[a][data.rows[a]],
        gallery=space[b][data.rows[b]],
        query_keys=data.keys[a],
        gallery_keys=data.keys[b],
        query_bank=banks[a],
        gallery_bank=banks[b],
    )


def _mrr(data: Held, space: Mapped) -> dict[Direction, float]:
    """Return the mean reciprocal rank of each direction."""
    folds = {d: _fold(space, data, d, {m: space[m][rows] for m, rows in data.rows.items()}) for d in data.directions}
    return {d: float(fold.figures(Uncorrected(), "mrr").mean()) for d, fold in folds.items()}


def _score(data: Held, tests: Mapping[Direction, Fold], correctors: Mapping[Direction, Corrector]) -> dict[str, float]:
    """Return the figures of the task and the mean skewness of N_10, each direction with its own corrector."""
    scores = {d: tests[d].scores(correctors[d])(slice(None)) for d in tests}
    skewness = [hubness_skewness(k_occurrence_of(s, 10)) for s in scores.values()]
    return {**TASK.score(data, lambda a, b: scores[a, b]), "skewness": float(np.mean(skewness))}


def _add(
    arms: dict[str, list[dict[str, Any]]], arm: str, base: str, figures: Mapping[str, float], settings: Any
) -> None:
    arms.setdefault(arm, []).append({"base": base, "figures": figures, "settings": settings})


def _mean(arm: str, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the row of an arm: means over the bases, R@1 and skewness of each base, and the settings of each."""
    names = found[0]["figures"]
    row: dict[str, Any] = {"arm": arm, **{n: float(np.mean([f["figures"][n] for f in found])) for n in names}}
    row |= {f"{f['base']} {n}": f["figures"][n] for f in found for n in ("r@1", "skewness")}
    return row | {"settings": {f["base"]: f["settings"] for f in found}}


def _made(ctx: Run) -> World:
    """Draw the counterpart for smoke: two views of hidden points with a direction in common, names in two variants."""
    rng = ctx.rng("world")
    n, hidden, d, e = 220, 10, 32, 24
    points = rng.standard_normal((n, hidden)) + 0.5
    look, word = rng.standard_normal((hidden, d)), rng.standard_normal((hidden, e))
    keys = np.array([f"item {i}" for i in range(n)])

    def seen(mix: np.ndarray, noise: float, variant: str) -> Features:
        x = points @ mix + noise * rng.standard_normal((n, mix.shape[1]))
        return Features(x.astype(np.float32), keys, keys, np.full(n, variant))

    names = [seen(word, 3.0, variant) for variant in LANGUAGES[:2]]
    both = {f: np.concatenate([getattr(each, f) for each in names]) for f in ("x", "keys", "groups", "variants")}
    return World(seen(look, 3.0, ""), Features(**both), seen(word, 6.0, FAR), "made: two views of hidden points")


def _openmoji(ctx: Run) -> World:
    """Return OpenMoji pictures by EfficientNet-Lite0 and their names by E5."""
    text = features(ctx, "openmoji", "text", encoder="e5_small", variants=(*LANGUAGES, FAR))
    near, far = text.variants != FAR, text.variants == FAR
    image = features(ctx, "openmoji", "image", encoder="efficientnet_lite0")
    return World(image, text.take(near), text.take(far), f"openmoji, names in {', '.join(LANGUAGES)}")
