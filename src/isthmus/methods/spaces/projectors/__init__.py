"""Projectors between two frozen encoders: a CLIP-class space from models that never met (maniparambil2025).

**What you get.** One space for any two (or more) encoders you already have, by training projectors alone;
`rank_pairs` says beforehand which encoders to take, `curate` which training data.

**The idea.** Encoders that were trained apart already agree on what resembles what. How far they agree can be
measured before training (CKA of their vectors of the same items); a small map with a contrastive loss then
suffices to bring them together. On tokens, one projector is shared by all patches, so that the projected
patches stay comparable with texts and say *where* something is.

**Equations.** CKA = ⟨HKH, HLH⟩ / √(⟨HKH, HKH⟩⟨HLH, HLH⟩) with K = XXᵀ, L = YYᵀ;

    token projector   TP(x) = A·x̂ + B₂·gelu(B₁·x̂),  x̂ = dropout(LN(x))
    MLP head          MH(x) = LN(p + dropout(F·gelu(p))),  p = P·x
    picture           v = mean_patches TP_local(patch) + TP_cls(CLS)
    text              w = MH(masked mean_tokens TP_text(token))
    loss              InfoNCE(v/‖v‖, w/‖w‖) with logits v·w/τ, τ learned from 0.07 within [0.001, 0.5]

**Relations** (each one a test)
- second matrix of the token projector = 0 → the linear block after LN; of the MLP head → LN of the linear block.
- one token → that token; padding → nothing changes; patches permuted → the same picture vector.
- all similarities equal → loss = log of the batch size.
- `Projectors` untrained from its start → regularised correlation analysis.
- disjoint classes → `curate` gives each class's plain best samples.

**Departures**
- *No gather, or gather*: the official code sees a process's own negatives only; `fit_towers(gather=)` offers both
  and reports the number of negatives.
- *Curation* works on float scores; the official scripts quantise them to int8 and clamp wrongly.
- *SPARC* gives a word that all patches resemble alike every patch; the official code divides 0 by 0 there.
- *Unfreezing* goes by module type, not by parts of parameter names.
- CLS "identity" in the official code means "not added"; here that is "none", and "identity" adds it as it is.
- *Start* (`Projectors` only): the linear branch is taken from correlation analysis with the covariance within
  items in its constraint (`canonical_start`), and the MLP branch starts at 0; from about a thousand pairs a random
  start overfits. `RandomProjectors` starts as the paper does. Measured on validation concepts of OpenMoji (967
  training concepts, 14 languages, five splits), as English R@1 and R@10, mean R@10 of the languages: random .238
  .526 .446; the start alone .291 .579 .493; the start, trained .299 .583 .499.
- *Weights* (`Projectors.fit(weights=)`): records of an item may count unequally, such as one language's names more.
- `token_sample`: a step of training may see a few random patches of a picture instead of all.

>>> import numpy as np
>>> points = np.random.default_rng(0).standard_normal((60, 4))
>>> pairs = {"image": points @ np.ones((4, 6)) + points.repeat(2, 1)[:, :6], "text": points[:, ::-1]}
>>> fitted = Projectors(width=4, members=1, steps=20).fit(pairs)
>>> fitted.transform("text", pairs["text"]).shape
(60, 4)
"""

import numpy as np

from isthmus.core.card import Card, Claim
from isthmus.core.report import Report
from isthmus.core.roles import Toy
from isthmus.core.run import Run
from isthmus.methods.spaces.projectors.curation import Selection, TopPerClass, balanced, curate, prototypes
from isthmus.methods.spaces.projectors.estimator import Projectors, RandomProjectors
from isthmus.methods.spaces.projectors.evaluation import (
    Classifier,
    length_bins,
    mean_iou,
    retrieval_by,
    segment,
    zero_shot,
)
from isthmus.methods.spaces.projectors.export import load_projectors, push_projectors, save_projectors, tower_steps
from isthmus.methods.spaces.projectors.modules import MLPHead, Temperature, TokenProjector, Tower, block, masked_mean
from isthmus.methods.spaces.projectors.pairs import Ranking, rank_pairs
from isthmus.methods.spaces.projectors.sparc import grouped_patches, sparc_loss
from isthmus.methods.spaces.projectors.start import canonical_start
from isthmus.methods.spaces.projectors.training import Features, fit_towers
from isthmus.methods.spaces.projectors.unlock import insert_adapters, trained_report, unlock, weights_hash

__all__ = [
    "CARD",
    "Classifier",
    "Features",
    "MLPHead",
    "Projectors",
    "RandomProjectors",
    "Ranking",
    "Selection",
    "Temperature",
    "TokenProjector",
    "TopPerClass",
    "Tower",
    "balanced",
    "block",
    "canonical_start",
    "curate",
    "fit_towers",
    "grouped_patches",
    "insert_adapters",
    "length_bins",
    "load_projectors",
    "masked_mean",
    "mean_iou",
    "prototypes",
    "push_projectors",
    "rank_pairs",
    "retrieval_by",
    "run",
    "save_projectors",
    "segment",
    "sparc_loss",
    "tower_steps",
    "toy",
    "trained_report",
    "unlock",
    "weights_hash",
    "zero_shot",
]

CARD = Card(
    title="Harnessing Frozen Unimodal Encoders for Flexible Multimodal Alignment",
    authors=(
        "Mayug Maniparambil",
        "Raiymbek Akshulakov",
        "Yasser Abdelaziz Dahou Djilali",
        "Sanath Narayan",
        "Ankit Singh",
        "Noel E. O'Connor",
    ),
    year=2025,
    link="https://arxiv.org/abs/2409.19425",
    summary="A common space of two frozen encoders by training small projectors between them, chosen by CKA.",
    needs=("vectors or tokens of frozen encoders", "items that two modalities share"),
    gives=("a map of each modality into one space", "the best pair of encoders", "a concept-balanced training set"),
    modalities=("image", "text"),
    claim=Claim(task="retrieval.v1", metric="r@1", better="token + MLP", than="ridge", margin=0.01),
    facts=("deterministic",),
    gaps=(
        "measured on drawings with small encoders; the paper's DINOv2 and RoBERTa need their own downloads",
        "the common estimator takes pooled vectors; towers on tokens are trained with fit_towers",
        "the paper's few-shot and linear probes are not here: they probe the encoders, not the projectors",
        "the curation mix and localisation are tested on made data, not on 20,000 scenes with masks",
        "the towers' training was doubled to 240 steps after a first look at one seed: more effort than the first plan",
    ),
    uses={"align": "Projectors", "align random_projectors": "RandomProjectors"},
    delivers={
        "CKA ranking of any list of encoder pairs, with plot and best pair": "rank_pairs, Ranking.svg, Ranking.best",
        "linear and RBF CKA": "isthmus.metrics.similarity.linear_cka, isthmus.metrics.similarity.rbf_cka",
        "token projector, MLP, linear, identity for each position": "Tower, block",
        "frozen-feature training on tokens or pooled vectors": "fit_towers, Features, Projectors.fit",
        "InfoNCE and optional SPARC": "isthmus.parts.contrast.info_nce, sparc_loss, fit_towers",
        "partial unfreezing switches": "unlock, insert_adapters",
        "concept-balanced curation: streaming top-k, rare first, dedup, histogram": "curate, Selection.histogram",
        "zero-shot classification with templates and descriptions": "zero_shot, Classifier",
        "retrieval": "isthmus.tasks.retrieval.score, retrieval_by",
        "segmentation map": "segment, mean_iou",
        "long-text and cross-lingual evaluation": "retrieval_by, length_bins",
        "save of projector-only checkpoints": "save_projectors, load_projectors",
        "push of projector-only checkpoints": "push_projectors",
        "several processes with optional gathered negatives": "isthmus.parts.contrast.gather_rows, fit_towers",
        "trained-parameter and compute report": "trained_report",
    },
)


def toy() -> Toy:
    """Return the estimator on 48 pairs that show the same points through two random maps."""
    rng = np.random.default_rng(0)
    points = rng.standard_normal((48, 5))
    pairs = {m: (points @ rng.standard_normal((5, d))).astype(np.float32) for m, d in {"image": 12, "text": 8}.items()}

    def demo() -> dict[str, float]:
        fitted = Projectors(width=5, members=1, steps=20).fit(pairs)
        cosines = fitted.transform("image", pairs["image"]) @ fitted.transform("text", pairs["text"]).T
        found = cosines.argmax(1) == np.arange(len(points))
        return {"found": float(found.mean()), "last loss": fitted.history_[-1]["loss"]}

    return Toy(thing=Projectors(width=5, members=2, steps=20), inputs=(pairs,), role="space_map", demo=demo)


def run(ctx: Run) -> Report:
    """Find held-out concepts' pictures by name and back: token projectors with an MLP head against ridge.

    Both arms choose among five settings on the same validation concepts inside the training part (ridge its
    penalty, the towers their dropout), then fit on all training concepts. At small and full the features are
    EfficientNet-Lite0 maps (49 tokens, their mean plays CLS) of OpenMoji pictures and E5 vectors of the English
    names; at smoke both are made.
    """
    from isthmus.methods.spaces.projectors.experiment import measure

    return measure(ctx)
