"""The contract itself: it passes what is right, in every role, and catches what is wrong."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from isthmus.core.batch import Batch
from isthmus.core.catalog import find
from isthmus.core.errors import BadInput
from isthmus.core.roles import Toy
from isthmus.core.run import seeded
from isthmus.parts.contrast import info_nce
from isthmus.workbench import scaffold
from isthmus.workbench.facts import CHECKS

from . import test_toy
from .test_roles import checks

ROOT = Path(__file__).parents[2]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def table(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed))


def filled(thing):
    """Build a module with weights that are the same every time."""
    with seeded(0):
        return thing()


def toy(thing, inputs, role):
    return Toy(thing=thing, inputs=inputs, role=role, demo=lambda: {"one": 1.0})


class Contrast(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def loss(self, batch):
        both = batch.present("a", "b")
        return {"loss": info_nce(batch.x["a"][both], batch.x["b"][both], scale=self.scale)}


def objective(thing=Contrast):
    mask = torch.tensor([True] * 7 + [False])
    return toy(thing(), (Batch({"a": table(8, 4), "b": table(8, 4, seed=1)}, {"a": mask}),), "objective")


class Dots:
    def fit(self, queries, gallery):
        self.mean = gallery.mean(0)
        return self

    def score(self, queries, gallery):
        if queries.shape[1] != gallery.shape[1]:
            raise BadInput("widths differ")
        return queries @ (gallery - self.mean).T


def scorer(thing=Dots):
    return toy(thing(), (table(5, 4).numpy(), table(7, 4, seed=1).numpy()), "scorer")


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3))

    def encode(self, modality, x):
        return x @ self.weight

    forward = encode


def encoder(thing=Linear):
    return toy(filled(thing), ("image", table(6, 4)), "encoder")


class Signs:
    def encode(self, modality, x):
        return (x > 0).to(torch.uint8)


def coder(thing=Signs):
    return toy(thing(), ("image", table(6, 4)), "coder")


class Noise:
    def sample(self, condition, n, generator):
        return condition.mean(0) + torch.randn(n, 3, generator=generator)


def generator(thing=Noise):
    return toy(thing(), (table(2, 3), 4, rng()), "generator")


class Pixels(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 1)

    def segment(self, x):
        return self.layer(x)


def segmenter(thing=Pixels):
    return toy(filled(thing), (table(4, 3, 5, 5),), "segmenter")


class Nearest:
    def match(self, a, b):
        return (a @ b.T).argmax(1)


def matcher(thing=Nearest):
    return toy(thing(), (table(5, 3), table(6, 3, seed=1)), "matcher")


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x, edges):
        return self.layer(edges @ x)


def graph(thing=Mean):
    return toy(filled(thing), (table(5, 3), torch.eye(5).roll(1, 0)), "graph")


GOOD = [objective, scorer, encoder, coder, generator, segmenter, matcher, graph]
TOY_TESTS = [t for name, t in vars(test_toy).items() if name.startswith("test_")]


def entry_of(make):
    return SimpleNamespace(load=lambda: SimpleNamespace(toy=make))


@pytest.mark.parametrize("make", GOOD, ids=lambda m: m.__name__)
def test_good_things_pass(make):
    for check in [*checks(make.__name__).values()]:
        check(make)
    for test in TOY_TESTS:
        test(entry_of(make))


class Drifting(Dots):
    """Its scores depend on where a query stands."""

    def score(self, queries, gallery):
        return super().score(queries, gallery) + np.arange(len(queries))[:, None]


class Centring(Linear):
    """Its vector of an item depends on the other items."""

    def encode(self, modality, x):
        return (x - x.mean(0)) @ self.weight


class Worldly(Noise):
    """It draws from the global generator."""

    def sample(self, condition, n, generator):
        return condition.mean(0) + torch.randn(n, 3)


class Deaf(Contrast):
    """No gradient reaches one modality."""

    def loss(self, batch):
        return {"loss": info_nce(batch.x["a"].detach(), batch.x["b"], scale=self.scale)}


class Uphill(Contrast):
    """Descending it goes nowhere."""

    def loss(self, batch):
        value = super().loss(batch)["loss"]
        return {"loss": 0 * value}


class Careless(Contrast):
    """It uses items that are absent."""

    def loss(self, batch):
        return {"loss": info_nce(batch.x["a"], batch.x["b"], scale=self.scale)}


class Constant(Signs):
    """Every item gets one code."""

    def encode(self, modality, x):
        return torch.zeros(len(x), 2)


class Coarse(Pixels):
    """Its map is smaller than the picture."""

    def segment(self, x):
        return self.layer(x)[..., ::2, ::2]


WRONG = [
    (scorer, Drifting, "check_order_of_queries_only_reorders_rows"),
    (encoder, Centring, "check_each_item_is_encoded_alone"),
    (generator, Worldly, "check_the_generator_decides"),
    (objective, Deaf, "check_gradient_reaches_every_modality"),
    (objective, Uphill, "check_ten_steps_lower_the_loss"),
    (objective, Careless, "check_absent_items_do_not_matter"),
    (coder, Constant, "check_one_code_an_item"),
    (segmenter, Coarse, "check_scores_for_every_pixel"),
]


@pytest.mark.parametrize(("make", "thing", "name"), WRONG, ids=lambda v: getattr(v, "__name__", v))
def test_wrong_things_are_caught(make, thing, name):
    with pytest.raises(AssertionError):
        checks(make.__name__)[name](lambda: make(thing))


class Unused(Linear):
    def __init__(self):
        super().__init__()
        self.spare = nn.Parameter(torch.zeros(2))


class Editing(Linear):
    def encode(self, modality, x):
        return x.mul_(2) @ self.weight


class Doubling(Linear):
    def encode(self, modality, x):
        return x.double() @ self.weight.double()


class Forgetting(Linear):
    """Part of its state is not in its state dict."""

    def __init__(self):
        super().__init__()
        self.shift = 0.0

    def load_state_dict(self, *args, **kwargs):
        self.shift = 1.0
        return super().load_state_dict(*args, **kwargs)

    def encode(self, modality, x):
        return x @ self.weight + self.shift


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (Unused, "test_every_parameter_gets_a_gradient"),
        (Editing, "test_inputs_are_left_alone"),
        (Doubling, "test_outputs_are_finite_and_float32"),
        (Forgetting, "test_state_dict_round_trip"),
    ],
)
def test_wrong_toys_are_caught(thing, name):
    with pytest.raises(AssertionError):
        getattr(test_toy, name)(entry_of(lambda: encoder(thing)))


def test_a_toy_that_draws_from_the_world_is_caught():
    def make():
        return toy(nn.Linear(4, 3), (torch.randn(2, 4),), "graph")

    with pytest.raises(AssertionError, match="seeded"):
        test_toy.test_global_random_state_is_left_alone(entry_of(make))


class Losing(Linear):
    def encode(self, modality, x: Tensor):
        return (x @ self.weight).float()


class Random(Linear):
    def encode(self, modality, x):
        return x @ self.weight + torch.rand(1)


@pytest.mark.parametrize(
    ("thing", "fact"), [(Losing, "float64"), (Random, "deterministic"), (Centring, "streaming")], ids=str
)
def test_untrue_facts_are_caught(thing, fact):
    assert not CHECKS[fact](entry_of(lambda: encoder(Linear)))
    assert CHECKS[fact](entry_of(lambda: encoder(thing)))


def test_gradients_fact():
    assert not CHECKS["gradients"](entry_of(lambda: objective(Contrast)))
    assert "input 0" in CHECKS["gradients"](entry_of(lambda: objective(Deaf)))


def test_the_template_passes_the_whole_contract(tmp_path):
    """What `isthmus new` writes, with its own test and every test of this folder that concerns a method."""
    methods = tmp_path / "mine"
    method, test = scaffold.new("spaces/sample-map", methods=methods)
    assert find("sample-map", [methods]).path == method
    options = ["-q", "-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml", "--rootdir", ROOT, "-k", "sample_map"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, ROOT / "tests" / "contract", test],
        cwd=tmp_path,
        env={**os.environ, "ISTHMUS_METHODS": str(methods), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "skipped" not in done.stdout
