"""Projectors between frozen encoders (maniparambil2025). In progress: the estimator is here, the rest follows."""

from isthmus.core.card import Card, Claim
from isthmus.methods.spaces.projectors.estimator import Projectors

__all__ = ["CARD", "Projectors"]

CARD = Card(
    title="Harnessing Frozen Unimodal Encoders for Flexible Multimodal Alignment",
    authors=("Mayug Maniparambil",),
    year=2025,
    link="https://arxiv.org/abs/2409.19425",
    summary="A CLIP-class space from two frozen encoders, by training projectors alone.",
    needs=("pairs of items of two modalities", "vectors of a frozen encoder for each"),
    gives=("a common space",),
    modalities=("image", "text"),
    claim=Claim(task="retrieval.v1", metric="r@1", better="token + MLP", than="ridge", margin=1.0),
    uses={"align": "Projectors"},
)
