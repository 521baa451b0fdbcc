"""The kernels in Triton's interpreter, in a process of its own: it is chosen when triton is imported."""

import json
import os
import subprocess
import sys

import pytest

from tests import require

WORK = """
import json, sys
import torch
from isthmus.core.errors import BadInput
from isthmus.parts import contrast_triton as kernels
from isthmus.parts.contrast import info_nce

kernels.BLOCK, kernels.HELD = 32, 32 * 100  # several tiles and several blocks of rows, none of them full


def compared(n, d, dtype, scale, noise=1.0):
    draw = torch.Generator().manual_seed(n)
    a = torch.nn.functional.normalize(torch.randn(n, d, generator=draw), dim=1)
    b = torch.nn.functional.normalize(a + noise * torch.randn(n, d, generator=draw), dim=1)
    inputs = [a.to(dtype).requires_grad_(), b.to(dtype).requires_grad_(), torch.tensor(scale, requires_grad=True)]
    exact = [x.detach().double().requires_grad_() for x in inputs]
    loss, truth = kernels.paired_info_nce(*inputs[:2], scale=inputs[2]), info_nce(*exact[:2], scale=exact[2])
    found, wanted = (torch.autograd.grad(3 * l, x) for l, x in ((loss, inputs), (truth, exact)))
    return {
        "loss": truth.item(),
        "off": abs(loss.item() - truth.item()),
        "gradients": [((x - y).abs().max() / y.abs().max().clamp(min=1e-9)).item() for x, y in zip(found, wanted)],
    }


def refused(*shapes):
    try:
        kernels.paired_info_nce(*(torch.ones(*s) for s in shapes), scale=1.0)
    except BadInput as error:
        return str(error)


print(json.dumps({
    "float32": compared(70, 24, torch.float32, 14.0),
    "one tile": compared(32, 8, torch.float32, 5.0),
    "float16": compared(70, 24, torch.float16, 14.0),
    "small loss": compared(50, 24, torch.float32, 60.0, noise=0.05),
    "one row": compared(1, 5, torch.float32, 14.0),
    "refused": [refused((3, 4), (3, 5)), refused((0, 4), (0, 4))],
}))
"""


@pytest.fixture(scope="module")
def found():
    require.module("triton", "torch")
    done = subprocess.run(
        [sys.executable, "-c", WORK],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TRITON_INTERPRET": "1"},
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("case", "off", "slope"),
    [("float32", 1e-6, 1e-5), ("one tile", 1e-6, 1e-5), ("float16", 1e-5, 2e-3), ("small loss", 1e-6, 1e-4)],
)
def test_kernels_agree_with_the_reference(found, case, off, slope):
    assert found[case]["off"] < off
    assert max(found[case]["gradients"]) < slope


def test_a_small_loss_keeps_its_digits(found):
    assert 0 < found["small loss"]["loss"] < 1e-2
    assert found["small loss"]["off"] < 1e-3 * found["small loss"]["loss"]


def test_one_row_has_no_negatives(found):
    assert found["one row"]["loss"] == found["one row"]["off"] == 0
    assert found["one row"]["gradients"] == [0, 0, 0]


def test_errors(found):
    assert "got (3, 4) and (3, 5)" in found["refused"][0]
    assert "got (0, 4)" in found["refused"][1]
