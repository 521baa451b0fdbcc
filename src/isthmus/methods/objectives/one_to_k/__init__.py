"""One item against its texts in all languages at once (1-to-K contrast, CCRK, nie2024).

**What you get.** A loss, and towers trained with it, for search that gives the same answer in whatever language it is
asked; and a figure for that, the mean rank variance (MRV), because recall in each language can be high while the
languages disagree about which items come first.

**The idea.** Aligning pictures with English and other languages with English adds up two errors; drawing one language
a step pulls the picture from one language to the next. Contrast each picture with its texts in all K languages in one
soft-max, and nobody is in the middle and nobody waits.

**Equations.** With v_i the vector of item i of n, t_ik that of its text in language k, all of length 1:

    i2t = −1/n Σ_i 1/K Σ_k log [ exp(⟨v_i, t_ik⟩/τ) / Σ_jl exp(⟨v_i, t_jl⟩/τ) ]          n·K texts in the sum
    t2i = −1/(nK) Σ_ik log [ exp(⟨t_ik, v_i⟩/τ) / Σ_j exp(⟨t_ik, v_j⟩/τ) ]
    L   = ½ (i2t + t2i / K) as released ("repo"),  ½ (i2t + t2i) ("mean"),  τ learned from 0.07
    matching: the text of item i for it is drawn in proportion to (max w + 1e-5) − w_ik, w the soft-max of i's row
    MRV = 1/n Σ_j 1/K Σ_k (r_jk − r̄_j)²,  r_jk the rank of item j's answer in language k

**Relations** (each one a test)
- K = 1 → the symmetric CLIP loss, for both balances.
- the same text in all languages → i2t is CLIP's plus log K; MRV = 0 for any model.
- i2t ≥ log K: the mass is shared by K texts, so losses of different K do not compare.
- another order of an item's texts → unchanged; in mining, own texts are never negatives, whatever the language.
- tiles, or several processes with gathered rows → the value and gradient of one dense batch.

**Departures**
- *Balance*: the released code divides both halves by 2K with i2t summed over the K texts, so that t2i counts 1/K of
  i2t. That is the default; "mean" weighs both alike.
- *Missing languages*: `present` leaves texts out; each item then counts once in i2t, each text once in t2i.
- *MRV*: the paper defines the variance, its code and tables average the standard deviation; both are printed.
- *Ranks* for the variance are full ranks of the dual scores, not those behind a re-ranking of the first 128.
- *Mining*: as the code, the maximum is over the whole table, not over the item's texts.
- *In the experiment* heads are trained on frozen EfficientNet and multilingual E5 vectors, not Swin and XLM-R; names
  that two languages share letter for letter count once. Fusion, matching and masked words are tested, not measured.

>>> import torch
>>> v = torch.nn.functional.normalize(torch.eye(3) + 0.1, dim=1)
>>> texts = v.repeat_interleave(2, 0)  # the same in both languages
>>> one, two = one_to_k_loss(v, v, 1, balance="mean"), one_to_k_loss(v, texts, 2, balance="mean")
>>> round(float(two - one) * 2, 4) == round(float(torch.tensor(2.0).log()), 4)
True
"""

import torch

from isthmus.core.batch import Batch
from isthmus.core.card import Card, Claim
from isthmus.core.report import Report
from isthmus.core.roles import Toy
from isthmus.core.run import Run, seeded
from isthmus.methods.objectives.one_to_k.estimator import Head, OneToKMaps
from isthmus.methods.objectives.one_to_k.fusion import Fusion, masked_words, masked_words_loss, matching_loss, rerank
from isthmus.methods.objectives.one_to_k.loss import OneToK, one_to_k_loss
from isthmus.methods.objectives.one_to_k.mining import Mined, mine
from isthmus.methods.objectives.one_to_k.training import RECIPES, Languages, Recipe, Training, fit_languages
from isthmus.methods.objectives.one_to_k.translation import emoji_names, m2m100, translated, unrepeated
from isthmus.metrics.consistency import by_variant, cases, mean_rank_variance, spread_plot

__all__ = [
    "CARD",
    "RECIPES",
    "Fusion",
    "Head",
    "Languages",
    "Mined",
    "OneToK",
    "OneToKMaps",
    "Recipe",
    "Training",
    "by_variant",
    "cases",
    "emoji_names",
    "fit_languages",
    "m2m100",
    "masked_words",
    "masked_words_loss",
    "matching_loss",
    "mean_rank_variance",
    "mine",
    "one_to_k_loss",
    "rerank",
    "run",
    "spread_plot",
    "toy",
    "translated",
    "unrepeated",
]

CARD = Card(
    title="Improving the Consistency in Cross-Lingual Cross-Modal Retrieval with 1-to-K Contrastive Learning",
    authors=(
        "Zhijie Nie",
        "Richong Zhang",
        "Zhangchi Feng",
        "Hailang Huang",
        "Xudong Liu",
    ),
    year=2024,
    link="https://arxiv.org/abs/2406.18254",
    summary="Each item against its texts in all languages at once, so that a search answers alike in each of them.",
    needs=("items with texts in several languages", "encoders of both"),
    gives=("one space for items and all languages", "a figure of how far the languages disagree"),
    modalities=("image", "text", "speech"),
    claim=Claim(task="multilingual.v1", metric="r@1", better="1-to-K", than="random language", margin=0.01),
    further=(
        Claim(task="multilingual.v1", metric="mrv", better="1-to-K", than="random language", margin=0.0, higher=False),
        Claim(task="multilingual.v1", metric="r@1", better="1-to-K", than="pivot", margin=0.02),
        Claim(task="multilingual.v1", metric="mrv", better="1-to-K", than="pivot", margin=0.0, higher=False),
        Claim(task="multilingual.v1", metric="r@1", better="1-to-K", than="random language, equal steps", margin=0.01),
    ),
    facts=("deterministic", "float64", "gradients"),
    gaps=(
        "measured on heads over frozen vectors of 1,300 emoji; the paper trains Swin and XLM-R on millions of captions",
        "fusion, matching with mined languages and masked words are tested, but no claim of them is measured",
        "audio and text is trained with the same call, without a measured claim",
        "with as many texts read, a random language a step does as well here (it sees six times the pictures), and its "
        "ranks spread less; 1-to-K is better than both at equal steps, and than the pivot in recall and in spread",
    ),
    uses={"align": "OneToKMaps"},
    delivers={
        "loss with both balances, missing languages, tiles": "one_to_k_loss, OneToK",
        "gather over processes": "tests/methods/objectives/test_one_to_k.py::test_two_processes_are_one_with_the_batch",
        "language-aware hard mining": "mine",
        "matching, masked words, fusion re-ranker": "Fusion, matching_loss, masked_words_loss, rerank",
        "mean rank variance": "mean_rank_variance",
        "per-language and worst-language recall": "by_variant",
        "rank-spread plot, inconsistent cases": "spread_plot, cases",
        "trainers for 1-to-K, random language, pivot, triangle": "fit_languages, RECIPES",
        "zero-shot and few-shot languages": "tests/methods/objectives/test_one_to_k_training.py::test_a_language",
        "audio and text": "tests/methods/objectives/test_one_to_k_training.py::test_any_items",
        "translation of captions: CLDR names offline, M2M-100 by id": "translated, emoji_names, m2m100",
        "backbones by id": "isthmus.parts.backbones.backbone",
    },
)


def toy() -> Toy:
    """Return the objective on eight pictures with names in three languages, some of which are missing."""
    draw = torch.Generator().manual_seed(0)
    points = torch.randn(8, 4, generator=draw)
    x = {m: points + 0.3 * torch.randn(8, 4, generator=draw) for m in ("image", "en", "de", "fr")}
    batch = Batch(x, {"fr": torch.arange(8) < 5})

    def demo() -> dict[str, float]:
        pictures, names = x["image"], torch.stack([x[m] for m in ("en", "de", "fr")], 1)
        with seeded(0):
            see, read = (Head(4, 4, hidden=8, dropout=0.0) for _ in range(2))
        done = fit_languages(see, read, pictures, names, training=Training(steps=20, batch=8, lr=1e-2))
        return {"first loss": done.history[0]["loss"], "last loss": done.history[-1]["loss"], "texts": done.texts}

    return Toy(thing=OneToK("image", "en", "de", "fr"), inputs=(batch,), role="objective", demo=demo)


def run(ctx: Run) -> Report:
    """Train heads on emoji with names in six languages (ten at full) and ask for emoji that were held out.

    Pictures of two styles are trained on and those of a third are asked for. Every arm chooses among the same dropouts
    and rates on validation concepts inside the training part. "random language" and "pivot" read as many texts in all
    as "1-to-K", so that they see K and K/2 times as many pictures; "equal steps" see as many pictures, and so fewer
    texts. Figures are means over languages and both directions; the control shuffles the pairs of the training part. At
    smoke the features are made.
    """
    from isthmus.methods.objectives.one_to_k.experiment import measure

    return measure(ctx)
