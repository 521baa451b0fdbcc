import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus import space as module
from isthmus.core.errors import BadInput
from isthmus.space import Map
from tests.maps import OPS, Draw, head, token_map, tokens, vectors
from tests.oracles import space as oracle
from tests.store.rows import fingerprint

TOLERANCE = {"float32": 2e-5, "float64": 1e-6}  # tensors are float32, also under float64 input


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", OPS)
def test_oracle(op, dtype):
    draw = Draw(0)
    each = Map([draw.step(op, 6)], draw.tensors, fingerprint(6))
    x = vectors(dtype=dtype)
    x[0], x[1] = 0, x[1] * 30
    y = each(x)
    assert y.dtype == dtype
    expected = [oracle.run(each.steps, each.tensors, row) for row in x.tolist()]
    np.testing.assert_allclose(y, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def test_oracle_tokens():
    each = token_map()
    x, mask = tokens()
    assert each.takes_tokens
    expected = [oracle.run(each.steps, each.tensors, row, m) for row, m in zip(x, mask, strict=True)]
    np.testing.assert_allclose(each(x, mask), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(max_examples=40, deadline=None)
@given(ops=st.lists(st.sampled_from(OPS), min_size=1, max_size=6), seed=st.integers(0, 99), pooled=st.booleans())
def test_numpy_and_torch_agree(dtype, ops, seed, pooled):
    draw = Draw(seed)
    steps = [draw.step(op, 6) for op in ops]
    if pooled:
        steps.insert(len(steps) // 2, {"op": "masked_mean"})
    each = Map(steps, draw.tensors, fingerprint(6))
    x, mask = tokens(seed=seed) if pooled else (vectors(seed=seed), None)
    x = x.astype(dtype)
    ours = each(x, mask)
    theirs = each(torch.tensor(x), None if mask is None else torch.tensor(mask))
    assert theirs.dtype == getattr(torch, dtype)
    scale = np.abs(ours).max() + 1e-30
    np.testing.assert_allclose(theirs.numpy() / scale, ours / scale, atol=1e-5 if dtype == "float32" else 1e-13)


def test_relations():
    x = vectors()
    same = Map([], {}, fingerprint(6))
    np.testing.assert_array_equal(same(x), x)
    gelu = Map([{"op": "gelu"}], {}, fingerprint(6))
    np.testing.assert_allclose(gelu(x), torch.nn.functional.gelu(torch.tensor(x)).numpy(), atol=1e-6)
    norm = Map([{"op": "layernorm"}], {}, fingerprint(6))
    np.testing.assert_allclose(norm(x), torch.nn.functional.layer_norm(torch.tensor(x), (6,)).numpy(), atol=1e-5)
    pooled = token_map()
    full = np.ones((9, 5), bool)
    np.testing.assert_array_equal(pooled(tokens()[0]), pooled(tokens()[0], full))


def test_properties():
    each, pooled = head(), token_map()
    x = vectors(40)
    kept = x.copy()
    y = each(x)
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), 1, atol=1e-6)
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_allclose(each(x[order]), y[order], atol=1e-6)
    assert each(x[:0]).shape == (0, 3)
    t, mask = tokens()
    np.testing.assert_array_equal(
        pooled(t, mask), pooled(np.where(mask[..., None], t, 7), mask)
    )  # what is masked does not count


def test_blocks_change_nothing(monkeypatch):
    each, pooled = head(), token_map()
    x, (t, mask) = vectors(50), tokens(50)
    whole, whole_pooled = each(x), pooled(t, mask)
    monkeypatch.setattr(module, "BLOCK", 8)
    np.testing.assert_allclose(each(x), whole, atol=1e-6)
    np.testing.assert_allclose(pooled(t, mask), whole_pooled, atol=1e-6)


def test_gradients_pass_through():
    x = torch.tensor(vectors(), requires_grad=True)
    head()(x).sum().backward()
    assert (x.grad.abs().sum(1) > 0).all()


def test_half_precision_is_computed_as_float32():
    x = vectors().astype(np.float16)
    np.testing.assert_array_equal(head()(x), head()(x.astype(np.float32)))
    assert head()(torch.tensor(x)).dtype == torch.float32


def test_torch_tensors_are_taken_and_owned():
    weight = torch.nn.Parameter(torch.ones(3, 6))
    each = Map([{"op": "linear", "weight": "w"}], {"w": weight}, fingerprint(6))
    before = each(vectors())
    with torch.no_grad():
        weight.zero_()
    np.testing.assert_array_equal(each(vectors()), before)
    assert each.dim == 3


W = np.ones((3, 6), np.float32)


@pytest.mark.parametrize(
    ("steps", "tensors", "message"),
    [
        ([{"op": "exec", "code": "import os"}], {}, r"step 0 is .*exec.*the operations are centre, scale"),
        (["relu"], {}, "step 0 is 'relu'"),
        ("relu", {}, "steps are a list"),
        ([{"op": "linear"}], {}, r"step 0 \(linear\) has \[\]; it needs \['weight'\], may take \['bias'\]"),
        ([{"op": "relu", "slope": 1}], {}, r"\(relu\) has \['slope'\]"),
        ([{"op": "linear", "weight": "v"}], {"w": W}, r"weight is 'v'; the tensors are \['w'\]"),
        ([{"op": "linear", "weight": "w"}] * 2, {"w": W}, r"step 1 \(linear\): weight 'w' .* expected \(out, 3\)"),
        ([{"op": "linear", "weight": "w", "bias": "w"}], {"w": W}, r"bias 'w' has shape \(3, 6\), expected \(3,\)"),
        ([{"op": "linear", "weight": "w", "bias": None}], {"w": W}, "bias is None"),
        ([{"op": "centre", "mean": 3.0}], {}, "mean is 3.0"),
        ([{"op": "scale", "factor": float("nan")}], {}, "factor is nan"),
        ([{"op": "scale", "factor": True}], {}, "factor is True"),
        ([{"op": "layernorm", "eps": "w"}], {"w": W}, "eps is 'w'"),
        ([{"op": "layernorm", "eps": -1.0}], {}, "eps is -1.0"),
        ([{"op": "residual", "steps": [{"op": "linear", "weight": "w"}]}], {"w": W}, "from width 6 to 3"),
        ([{"op": "residual", "steps": [{"op": "masked_mean"}]}], {}, "outside of residual"),
        ([{"op": "masked_mean"}] * 2, {}, "step 1 is .*masked_mean once"),
        ([{"op": "relu"}], {"w": W}, r"no step uses the tensors \['w'\]"),
        ([{"op": "linear", "weight": "w"}], {"w": W.astype(int)}, "tensor 'w' is int64"),
        ([{"op": "linear", "weight": "w"}], {"w": W * np.nan}, "tensor 'w' holds NaN"),
        ([{"op": "linear", "weight": "w"}], {"w": W.astype("f8") * 1e300}, "tensor 'w' holds NaN or infinity"),
        ([{"op": "linear", "weight": "w"}], {"w": W[:0]}, r"shape \(0, 6\)"),
        ([{"op": "linear", "weight": "a/w"}], {"a/w": W}, "without '/'"),
    ],
)  # fmt: skip
def test_maps_that_cannot_be_run(steps, tensors, message):
    with pytest.raises(BadInput, match=message):
        Map(steps, tensors, fingerprint(6))


@pytest.mark.parametrize(
    ("x", "mask", "message"),
    [
        (vectors(d=5), None, r"floats of shape \(n, 6\), got float32 of shape \(9, 5\)"),
        (vectors()[0], None, r"got float32 of shape \(6,\)"),
        (vectors().tolist(), None, "an array of numpy or torch, got <class 'list'>"),
        (tokens()[0], None, r"of shape \(9, 5, 6\)"),
        (np.ones((3, 6), int), None, "got int64"),
        (vectors(), np.ones((9, 6), bool), "takes vectors, not tokens"),
    ],
)
def test_errors(x, mask, message):
    with pytest.raises(BadInput, match=message):
        head()(x, mask)


def test_errors_of_masks():
    x, mask = tokens()
    for wrong in (mask[:, :4], mask.astype(np.float32)):
        with pytest.raises(BadInput, match=r"booleans \(9, 5\)"):
            token_map()(x, wrong)
    mask[3] = False
    with pytest.raises(BadInput, match="no token under its mask"):
        token_map()(x, mask)
    with pytest.raises(BadInput, match=r"\(n, t, 6\)"):
        token_map()(vectors())
