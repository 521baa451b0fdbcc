"""Similarities to shared anchors as coordinates: encoders that never met speak one language (moschella2023).

**What you get.** A head that was trained on one encoder works on another without training ("zero-shot stitching"), and
one space for several modalities from pairs alone (`isthmus align --method relative_representations`), in seconds.

**The idea.** Encoders that were trained apart differ by about a rotation and a scale, while the angles between items
are alike. So describe each item by its angles to a fixed list of anchors, the same samples in every encoder.

**Equations.** With the anchors a_1 … a_k encoded by the same encoder E as x:

    r(x) = (sim(E(x), E(a_1)), …, sim(E(x), E(a_k))),  sim(u, v) = uᵀv / ‖u‖‖v‖          (eq. 1, 2)
    stitched model: head_j(LayerNorm(r_i(x))), the head trained on encoder j, the coordinates of encoder i

**Relations** (each one a test)
- another encoder that is a rotated and scaled copy → the same coordinates, and equal outputs of a stitched head.
- "euclidean" → unchanged by isometries alone; "basis" with k = d → unchanged by any invertible linear map, R·A = X.
- an anchor's cosine to itself = 1; anchors in another order → columns in another order.
- bins that get small → no rounding; one part, no bin, no norm → `isthmus.parts.linear.RelativeProjection`.
- `RelativeRepresentations` of a modality and its rotated copy → the same vectors.

**Departures**
- *Rounding* passes gradients straight through; one of the released variants rounds the gradients too.
- *Clusters*: centres are given, where the released code runs agglomerative clustering anew on each batch.
- *Angular* is 1 − arccos(cos)/π and distances are negative, so that more is nearer throughout; the authors' library
  has arccos(cos)/π and distances.
- *Centring*: a narrow cone of vectors has nearly equal cosines, so that `Coordinates` takes the anchors' mean off.
- `RelativeRepresentations` goes across modalities as ASIF does (norelli2023): the anchors are pairs, and only the
  largest similarities count. ASIF keeps the top of each row and raises it to a power; here each row gets mean 0 and
  variance 1 and one least value a modality is subtracted, which a space can run without torch.

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> x = rng.standard_normal((30, 4))
>>> turned = 3 * x @ np.linalg.qr(rng.standard_normal((4, 4)))[0]
>>> anchors = Anchors.of([f"item {i}" for i in range(30)], range(8))
>>> a, b = (Coordinates(centring=False).fit(v[:8], anchors).transform(v) for v in (x, turned))
>>> bool(np.allclose(a, b))
True
"""

import numpy as np

from isthmus.core.card import Card, Claim
from isthmus.core.report import Report
from isthmus.core.roles import Toy
from isthmus.core.run import Run
from isthmus.methods.spaces.relative_representations.anchors import Anchors, choose_anchors
from isthmus.methods.spaces.relative_representations.estimator import RelativeRepresentations
from isthmus.methods.spaces.relative_representations.layer import (
    RelativeLayer,
    clustered,
    relative,
    rounded,
    smooth_steps,
    stratified_mean,
)
from isthmus.methods.spaces.relative_representations.measures import agreement, proxy, side_by_side
from isthmus.methods.spaces.relative_representations.models import RelativeModel, autoencoder, fit_model
from isthmus.methods.spaces.relative_representations.stitching import Coordinates, Head, Stitched, stitch
from isthmus.methods.spaces.relative_representations.words import WordPieces

__all__ = [
    "CARD",
    "Anchors",
    "Coordinates",
    "Head",
    "RelativeLayer",
    "RelativeModel",
    "RelativeRepresentations",
    "Stitched",
    "WordPieces",
    "agreement",
    "autoencoder",
    "choose_anchors",
    "clustered",
    "fit_model",
    "proxy",
    "relative",
    "rounded",
    "run",
    "side_by_side",
    "smooth_steps",
    "stitch",
    "stratified_mean",
    "toy",
]

CARD = Card(
    title="Relative representations enable zero-shot latent space communication",
    authors=(
        "Luca Moschella",
        "Valentino Maiorca",
        "Marco Fumero",
        "Antonio Norelli",
        "Francesco Locatello",
        "Emanuele Rodolà",
    ),
    year=2023,
    link="https://arxiv.org/abs/2209.15430",
    summary="Similarities to shared anchors as coordinates, so that a head works on encoders it was not trained with.",
    needs=("vectors of two or more encoders", "anchors: samples that all of them have encoded"),
    gives=("coordinates that separately trained encoders share", "stitched models", "one space for all modalities"),
    modalities=("image", "text"),
    claim=Claim(task="stitching.v1", metric="stitched", better="relative", than="absolute", margin=0.2),
    facts=("deterministic",),
    gaps=(
        "measured on frozen encoders of emoji pictures and names; the paper also trains encoders end to end",
        "heads trained end to end are tested on made data; autoencoders of pictures are not measured",
        "the text encoders of one language are small, fitted on a thousand names each; the paper's are RoBERTas",
        "languages differ in their text encoders alone: the anchors are names of the same emoji, none out of domain",
    ),
    uses={"align": "RelativeRepresentations"},
    delivers={
        "differentiable relative projection: pre, post, rounding": "relative, RelativeLayer, Coordinates",
        "quantised variants: bins, smooth steps, clusters, class means": "rounded, smooth_steps, clustered, "
        "stratified_mean",
        "anchor selectors": "choose_anchors",
        "parallel and out-of-domain anchors": "Anchors.rows",
        "anchors refreshed during training": "RelativeModel.encode",
        "stitching with checks that anchors align": "stitch, Stitched",
        "autoencoder and classifier demo models with an absolute and relative switch": "autoencoder, RelativeModel",
        "demo VAE and GCN": "missing: any encoder module goes into RelativeModel, these two are not built here",
        "translators with inverse and dimension matching": "isthmus.parts.linear.Procrustes, "
        "isthmus.parts.linear.LeastSquares",
        "space measures": "agreement, isthmus.metrics.similarity.linear_cka, isthmus.metrics.neighbours.svcca",
        "performance proxy": "proxy",
        "several similarities side by side": "Coordinates",
        "several subspaces side by side": "RelativeLayer",
        "cross-modal use with anchors alone": "RelativeRepresentations",
        "visualisation of several spaces side by side": "side_by_side",
        "sweep over the number of anchors": "run",
        "anchors saved with ids": "Anchors.save, Anchors.load",
    },
)


def toy() -> Toy:
    """Return the estimator on 48 pairs that show the same points through two turns, with a little noise."""
    rng = np.random.default_rng(0)
    points = rng.standard_normal((48, 5))
    pairs = {
        m: (points @ np.linalg.qr(rng.standard_normal((d, 5)))[0].T).astype(np.float32)
        for m, d in {"image": 12, "text": 8}.items()
    }

    def demo() -> dict[str, float]:
        fitted = RelativeRepresentations(anchors=24, keep=0.5).fit(pairs)
        cosines = fitted.transform("image", pairs["image"]) @ fitted.transform("text", pairs["text"]).T
        found = cosines.argmax(1) == np.arange(len(points))
        return {"found": float(found.mean()), "anchors": float(len(fitted.anchors_.ids))}

    return Toy(thing=RelativeRepresentations(anchors=24, keep=0.5), inputs=(pairs,), role="space_map", demo=demo)


def run(ctx: Run) -> Report:
    """Say the group of held-out emoji with heads that were trained on another encoder, of either modality.

    Seven encoders of OpenMoji: EfficientNet-Lite0, 1 and 2 of the pictures, E5 of the English names, and word pieces of
    the English, German and Spanish names, fitted on the training part; what is wider is brought to 256 principal
    directions. Every arm trains a linear head on each of them with the same steps and chooses among three settings by
    validation on the head's own encoder. "relative" has 300 anchors, "absolute" pads vectors with zeros to one width,
    "rotated" turns each encoder onto that of the head with the same anchors (Procrustes), "rounded" has bins of 0.1.
    The control shuffles each encoder's anchors. At smoke the vectors are made.
    """
    from isthmus.methods.spaces.relative_representations.experiment import measure

    return measure(ctx)
