"""Contrast with soft positives, weighted by what a frozen encoder finds alike (CWCL, srinivasa2023).

**What you get.** A loss for teaching one modality to meet another whose encoder you already have: speech to a
sentence encoder, texts to an image encoder. What comes out is a zero-shot classifier of the new modality.

**The idea.** Plain contrast calls one item of a batch right and all others equally wrong. The frozen encoder knows
better: two requests for an alarm are nearly the same. Its own similarities become the weights of soft positives, so
that the learning tower takes over the geometry of the frozen one and not only who belongs to whom.

**Equations**, with p the learned and q the frozen unit vectors, r the frozen features, B the size of the batch:

    w_ij = (⟨r_i, r_j⟩ + 1) / 2,  no gradient
    L_cw = −1/B Σ_i 1/(Σ_j w_ij) Σ_j w_ij log [ exp(⟨p_i, q_j⟩/τ) / Σ_k exp(⟨p_i, q_k⟩/τ) ]
    L_cl = −1/B Σ_i log [ exp(⟨q_i, p_i⟩/τ) / Σ_k exp(⟨q_i, p_k⟩/τ) ]
    L    = L_cw + L_cl,  τ learned from 0.07 as a logarithm, 1/τ ≤ 100

**Relations** (each one a test)
- w = identity (`paired`) → twice the symmetric CLIP loss; with a locked image tower that is LiT.
- w = [y_i = y_j] (`same_label`) → supervised contrast, logarithm outside.
- w = 1 → the mean over j of −log softmax; at equal logits log B, its minimum.
- L_cw ≥ the mean entropy of the normalised weights, with equality where the soft-max equals them.
- a joint permutation of the batch, or another length of the frozen features → unchanged.
- tiles, or several processes with gathered rows → the value and gradient of one dense batch.

**Departures**
- *Weights*: the paper's affine map is the default. For sentence encoders whose cosines are all close to 1 it makes
  the weights almost equal; `centred`, `sharpened` and `nearest` are offered beside it, and `fit_locked` warns.
- *In the experiment* all arms see frozen vectors without their common part, and "CWCL" is the affine map of those;
  "CWCL, softmax" are the sharpened weights.
- *Both directions*: the paper weights one; ``weighted="v2u"`` and ``"both"`` are offered as an ablation.
- *Duplicates*: an item of V that occurs twice is a false negative of L_cl; `keys` takes it out.
- *No official code* was found; the one-way weighting is confirmed by the text of CellCLIP, which adopts the loss.

>>> import torch
>>> p, q = (torch.nn.functional.normalize(torch.eye(4) + x, dim=1) for x in (0.1, 0.2))
>>> bool(cwcl_loss(p, q, q, weight_fn=paired) < cwcl_loss(p, q, q, weight_fn=affine))
True
"""

import torch

from isthmus.core.batch import Batch
from isthmus.core.card import Card, Claim
from isthmus.core.report import Report
from isthmus.core.roles import Toy
from isthmus.core.run import Run, seeded
from isthmus.methods.objectives.cwcl.bridge import Bridge, image_text, load_bridge, speech_text
from isthmus.methods.objectives.cwcl.estimator import LockedMaps
from isthmus.methods.objectives.cwcl.loss import (
    CWCL,
    affine,
    centred,
    cwcl_loss,
    effective_positives,
    nearest,
    paired,
    same_label,
    sharpened,
)
from isthmus.methods.objectives.cwcl.report import geometry_kept, heat_maps, template_report
from isthmus.methods.objectives.cwcl.towers import SequenceTower, bytes_of, windows
from isthmus.methods.objectives.cwcl.training import (
    Locked,
    LockedTower,
    NearlyUniform,
    Training,
    fit_locked,
    rows_of,
)

__all__ = [
    "CARD",
    "CWCL",
    "Bridge",
    "Locked",
    "LockedMaps",
    "LockedTower",
    "NearlyUniform",
    "SequenceTower",
    "Training",
    "affine",
    "bytes_of",
    "centred",
    "cwcl_loss",
    "effective_positives",
    "fit_locked",
    "geometry_kept",
    "heat_maps",
    "image_text",
    "load_bridge",
    "nearest",
    "paired",
    "rows_of",
    "run",
    "same_label",
    "sharpened",
    "speech_text",
    "template_report",
    "toy",
    "windows",
]

CARD = Card(
    title="CWCL: Cross-Modal Transfer with Continuously Weighted Contrastive Loss",
    authors=(
        "Rakshith Sharma Srinivasa",
        "Jaejin Cho",
        "Chouchang Yang",
        "Yashas Malur Saidutta",
        "Ching-Hua Lee",
        "Yilin Shen",
        "Hongxia Jin",
    ),
    year=2023,
    link="https://arxiv.org/abs/2309.14580",
    summary="Contrast whose positives are weighted by a frozen encoder's own similarities, for zero-shot transfer.",
    needs=("a strong frozen encoder of one modality", "pairs with another modality"),
    gives=("a tower of the other modality in the frozen encoder's space", "a zero-shot classifier of it"),
    modalities=("speech", "text", "image"),
    claim=Claim(task="zero_shot.v1", metric="top1", better="CWCL", than="CL", margin=0.02, control="random_encoder"),
    further=(
        Claim(
            task="zero_shot.v1",
            metric="top1",
            better="CWCL, seen intents",
            than="CL, seen intents",
            margin=0.02,
            control="random_encoder",
        ),
        Claim(
            task="zero_shot.v1",
            metric="top1",
            better="CWCL, keywords",
            than="CL, keywords",
            margin=0.02,
            control="random_encoder",
        ),
    ),
    facts=("deterministic", "float64", "gradients"),
    gaps=(
        "measured on synthetic speech of about 5,000 recordings with a small tower on Whisper tiny's states; the paper "
        "fine-tunes Whisper on 2,300 hours",
        "the image-text recipe is tested, but no claim of it is measured",
        "no claim holds here: the affine weights of E5 hardly tell texts apart (254 of 256 in equal positives, though "
        "the vectors are centred), and plain contrast finds unseen intents better by .026",
        "the recipes take encoders by name; a backbone of timm or a hub is trained with fit_locked",
        "isthmus align --method cwcl trains maps on stored vectors; a tower on states or bytes is trained in Python",
    ),
    uses={"align": "LockedMaps"},
    delivers={
        "loss with weight functions": "cwcl_loss, affine, centred, sharpened, nearest",
        "module with learned temperature": "CWCL, isthmus.parts.contrast.LogScale",
        "gather over processes": "tests/methods/objectives/test_cwcl.py::test_two_processes_are_one_with_the_batch",
        "tiled version": "isthmus.parts.contrast.row_contrast, cwcl_loss",
        "locked-tower trainer for any two modalities": "fit_locked, LockedTower, LockedMaps",
        "recipes for image-text and speech-text": "image_text, speech_text, Bridge.save, load_bridge",
        "zero-shot classification of images, intents and keywords with prompt ensembles": "Bridge.classify",
        "template robustness report": "template_report",
        "cross-modal retrieval evaluation": "isthmus.tasks.retrieval.score, Bridge.encode",
        "baselines in the same call: CL (LiT), SupCon with labels": "paired, same_label",
        "similarity heat map sorted by class": "heat_maps",
        "diagnostics: effective positives with a warning": "effective_positives, NearlyUniform",
        "diagnostics: Spearman of the geometries, CKA": "geometry_kept",
        "full-size backbones by name": "isthmus.parts.backbones.backbone",
    },
)


def toy() -> Toy:
    """Return the objective on ten items of two modalities, two of them without speech."""
    draw = torch.Generator().manual_seed(0)
    points = torch.randn(10, 4, generator=draw)
    x = {
        "speech": points + 0.5 * torch.randn(10, 4, generator=draw),
        "text": points + 0.1 * torch.randn(10, 4, generator=draw),
    }
    batch = Batch(x, {"speech": torch.arange(10) < 8})

    def demo() -> dict[str, float]:
        with seeded(0):
            tower = torch.nn.Linear(4, 4)
        training = Training(weight_fn=sharpened(0.1), steps=20, batch=10)
        fit = fit_locked(tower, rows_of(x["speech"]), x["text"], training=training)
        return {
            "first loss": fit.history[0]["loss"],
            "last loss": fit.history[-1]["loss"],
            "effective positives": fit.positives,
        }

    return Toy(thing=CWCL("speech", "text"), inputs=(batch,), role="objective", demo=demo)


def run(ctx: Run) -> Report:
    """Train a speech tower beside a frozen sentence encoder by plain contrast and by CWCL, and ask for new intents.

    Every arm chooses among the same dropouts and rates on validation intents and voices inside the training part, and
    trains with the same steps, batches and width. The seed draws ten intents that are never trained on (the
    headline), the wordings held out of the others, and the voices that nobody heard before. The control is a random
    encoder of texts, under which alike texts are still alike. At smoke the features are made.
    """
    from isthmus.methods.objectives.cwcl.experiment import measure

    return measure(ctx)
