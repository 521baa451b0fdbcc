"""The closed-form maps beside slow loops, their limit cases, and what they refuse."""

import sys
import tracemalloc

import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.parts.linear import (
    CanonicalDirections,
    Centre,
    LeastSquares,
    Procrustes,
    RelativeProjection,
    RobustProcrustes,
    Standardise,
    moments,
    slerp,
)
from tests.metrics.samplers import SHAPES, rotation, vectors
from tests.oracles import linear as oracle

RNG = np.random.default_rng


def pairs(n=60, d=5, e=4, seed=0, noise=0.1):
    x = vectors("shifted", n, d, seed)
    y = x @ RNG(seed + 1).standard_normal((d, e)) + noise * RNG(seed + 2).standard_normal((n, e)) - 3
    return x, y


@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_oracle_least_squares(rho):
    x, y = pairs()
    w, mx, my = oracle.ridge(x, y, rho)
    found = LeastSquares(ridge=rho).fit(x, y)
    np.testing.assert_allclose(found.coef_, w, rtol=1e-8)
    np.testing.assert_allclose(found.transform(x), (x - mx) @ w + my)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_oracle_procrustes(seed):
    x = vectors("gaussian", 40, 2, seed)
    y = x @ rotation(2, seed) + 0.3 * vectors("gaussian", 40, 2, seed + 9) + 2
    np.testing.assert_allclose(Procrustes().fit(x, y).rotation_, oracle.rotation_by_angles(x, y), atol=2e-3)


@pytest.mark.parametrize(("d", "e"), [(4, 4), (5, 3), (3, 6)])
def test_oracle_canonical(d, e):
    x, y = pairs(200, d, e, noise=3.0)
    found = CanonicalDirections().fit(x, y)
    np.testing.assert_allclose(found.correlations_, oracle.canonical_by_eigen(x, y), atol=1e-8)


@pytest.mark.parametrize("kind", ["cosine", "angular", "euclidean"])
def test_oracle_relative(kind):
    x, anchors = vectors("shifted", 9, 4, 0), vectors("gaussian", 6, 4, 1)
    found = RelativeProjection(similarity=kind).fit(anchors).transform(x)
    np.testing.assert_allclose(found, oracle.relative(x, anchors, kind), atol=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cut", [(7,), (1, 2, 50), (30, 31)])
def test_relations_blocks_give_the_same_moments(shape, cut):
    x, y = vectors(shape, 64, 6, 0), vectors(shape, 64, 3, 1)
    whole = moments([(x, y)])
    parts = moments(list(zip(np.split(x, cut), np.split(y, cut), strict=True)))
    shuffled = RNG(0).permutation(64)
    again = moments([(x[shuffled], y[shuffled])])
    for other in (parts, again):
        assert other.n == 64
        for name in ("mean_x", "mean_y", "xx", "xy", "yy"):
            mine = getattr(whole, name)
            np.testing.assert_allclose(getattr(other, name), mine, atol=1e-9 * np.abs(mine).max())
    near = x - x.mean(0)
    np.testing.assert_allclose(whole.xy, near.T @ (y - y.mean(0)), atol=1e-9 * np.abs(whole.xy).max())


def test_relations_a_large_common_part_does_not_eat_the_digits():
    x = vectors("gaussian", 5000, 6, 0)
    far = (x + 1000).astype(np.float32)
    kept = moments([far]).xx
    np.testing.assert_allclose(kept, np.cov(far.astype(np.float64).T) * 4999, rtol=1e-4, atol=0.5)


@pytest.mark.parametrize(
    "model",
    [Centre(), Standardise(), LeastSquares(), LeastSquares(ridge=0.1, intercept=False), Procrustes(scaling=True),
     Procrustes(centring=False), CanonicalDirections(k=2, ridge=0.1)],
    ids=repr,
)  # fmt: skip
def test_relations_streams_are_arrays(model):
    x, y = pairs()
    at_once = model.fit(x, y).transform(x)
    rows = (x[i : i + 13] if isinstance(model, Centre | Standardise) else (x[i : i + 13], y[i : i + 13])
            for i in range(0, 60, 13))  # fmt: skip
    np.testing.assert_allclose(model.fit_rows(rows).transform(x), at_once, atol=1e-9)


def test_relations_exact_maps_are_found():
    x = vectors("shifted", 50, 5, 0)
    a, b, q = RNG(1).standard_normal((5, 7)), RNG(2).standard_normal(7), rotation(5)
    affine = LeastSquares().fit(x, x @ a + b)
    np.testing.assert_allclose(affine.coef_, a, atol=1e-8)
    np.testing.assert_allclose(affine.transform(np.zeros((1, 5))), [b], atol=1e-7)
    np.testing.assert_allclose(affine.inverse_transform(affine.transform(x)), x, atol=1e-7)
    y = 2.5 * x @ q + b[:5]
    for model in (Procrustes(scaling=True), RobustProcrustes(scaling=True)):
        turned = model.fit(x, y)
        np.testing.assert_allclose(turned.rotation_, q, atol=1e-9)
        assert turned.scale_ == pytest.approx(2.5)
        np.testing.assert_allclose(turned.transform(x), y, atol=1e-7)
        np.testing.assert_allclose(turned.inverse_transform(y), x, atol=1e-7)
    np.testing.assert_allclose(LeastSquares().fit(x, x @ q).coef_, q, atol=1e-8)
    shrunk = LeastSquares(ridge=1e9).fit(x, y)
    np.testing.assert_allclose(shrunk.transform(x), np.tile(y.mean(0), (50, 1)), atol=1e-6)


@pytest.mark.parametrize(("d", "e"), [(6, 3), (3, 6)])
def test_relations_unequal_widths_are_padded_with_zeros(d, e):
    x, y = pairs(80, d, e)
    r = Procrustes().fit(x, y).rotation_
    np.testing.assert_allclose(r @ r.T if d < e else r.T @ r, np.eye(3), atol=1e-9)
    padded = Procrustes().fit(np.pad(x, ((0, 0), (0, 6 - d))), np.pad(y, ((0, 0), (0, 6 - e)))).rotation_
    near_x, near_y = x - x.mean(0), y - y.mean(0)
    traces = [np.trace(r.T @ near_x.T @ near_y), np.trace(padded[:d, :e].T @ near_x.T @ near_y)]
    assert traces[0] == pytest.approx(traces[1])


def test_relations_canonical():
    x = vectors("gaussian", 300, 4, 0)
    same = CanonicalDirections().fit(x, x @ RNG(1).standard_normal((4, 4)) + 5)
    np.testing.assert_allclose(same.correlations_, 1, atol=1e-7)
    y = pairs(300, 4, 3, noise=2.0)[1]
    found = CanonicalDirections().fit(x, y)
    zx, zy = found.transform(x), found.transform_y(y)
    np.testing.assert_allclose(zx.T @ zx / 300, np.eye(3), atol=1e-8)
    np.testing.assert_allclose(zx.T @ zy / 300, np.diag(found.correlations_), atol=1e-8)
    moved = CanonicalDirections().fit(x @ RNG(3).standard_normal((4, 4)) - 8, y)
    np.testing.assert_allclose(moved.correlations_, found.correlations_, atol=1e-7)
    strangers = CanonicalDirections().fit(vectors("gaussian", 20_000, 4, 5), vectors("gaussian", 20_000, 4, 6))
    assert strangers.correlations_.max() < 0.05
    np.testing.assert_allclose(same.inverse_transform(same.transform(x)), x, atol=1e-7)
    with pytest.warns(RuntimeWarning, match="6 pairs"):
        few = CanonicalDirections().fit(vectors("gaussian", 6, 4, 0), vectors("gaussian", 6, 4, 1))
    assert few.correlations_[0] == pytest.approx(1)


def test_relations_wrong_pairs_do_not_bend_the_robust_rotation():
    x, q = vectors("gaussian", 300, 6, 0), rotation(6)
    y = x @ q + 0.01 * vectors("gaussian", 300, 6, 1)
    y[:100] = 3 * y[RNG(0).permutation(100)]
    off = {m: np.abs(m().fit(x, y).rotation_ - q).max() for m in (Procrustes, RobustProcrustes)}
    assert 5 * off[RobustProcrustes] < min(off[Procrustes], 0.02)
    weights = RobustProcrustes().fit(x, y).weights_
    assert weights[100:].min() > weights[:100].mean()


def test_relations_relative():
    x, anchors, q = vectors("shifted", 30, 5, 0), vectors("gaussian", 8, 5, 1), rotation(5)
    cosine = RelativeProjection().fit(anchors).transform(x)
    lengths = RNG(2).uniform(0.1, 9, (30, 1))
    np.testing.assert_allclose(RelativeProjection().fit(7 * anchors @ q).transform(lengths * x @ q), cosine, atol=1e-9)
    np.testing.assert_allclose(np.diag(RelativeProjection().fit(anchors).transform(anchors)), 1)
    euclid = RelativeProjection(similarity="euclidean")
    np.testing.assert_allclose(
        euclid.fit(anchors @ q + 3).transform(x @ q + 3), euclid.fit(anchors).transform(x), atol=1e-7
    )
    assert np.abs(euclid.fit(2 * anchors).transform(2 * x) - euclid.fit(anchors).transform(x)).max() > 1
    basis, a = RelativeProjection(similarity="basis"), RNG(4).standard_normal((5, 5))
    r = basis.fit(anchors[:5]).transform(x)
    np.testing.assert_allclose(r @ anchors[:5], x, atol=1e-9)
    np.testing.assert_allclose(basis.fit(anchors[:5] @ a).transform(x @ a), r, atol=1e-7)
    back = RelativeProjection().fit(anchors).inverse_transform(cosine)
    np.testing.assert_allclose(back, x / np.linalg.norm(x, axis=1, keepdims=True), atol=1e-9)


def test_relations_slerp():
    a, b = vectors("gaussian", 20, 4, 0), vectors("gaussian", 20, 4, 1)
    ua, ub = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
    np.testing.assert_allclose(slerp(a, b, 0), ua, atol=1e-12)
    np.testing.assert_allclose(slerp(a, b, 1), ub, atol=1e-12)
    np.testing.assert_allclose(slerp(a, a, 0.3), ua, atol=1e-12)
    np.testing.assert_allclose(slerp(a, b, 0.3), slerp(b, a, 0.7), atol=1e-12)
    middle = slerp(a, b, 0.25)
    np.testing.assert_allclose(np.linalg.norm(middle, axis=1), 1)
    arc = np.arccos(np.sum(ua * ub, 1))
    np.testing.assert_allclose(np.arccos(np.sum(ua * middle, 1)), arc / 4)
    close = slerp(a, a + 1e-9 * b, 0.5)
    np.testing.assert_allclose(close, ua, atol=1e-8)


def test_properties_torch_in_torch_out():
    torch = pytest.importorskip("torch")
    x, y = pairs()
    t = torch.from_numpy(x)
    for model in (Centre(), Standardise(), LeastSquares(), Procrustes(), CanonicalDirections(), RelativeProjection()):
        mine = model.fit(x, y).transform(x)
        theirs = model.fit(t, torch.from_numpy(y)).transform(t.requires_grad_())
        assert theirs.requires_grad and theirs.dtype == torch.float64
        np.testing.assert_allclose(theirs.detach().numpy(), mine, atol=1e-9)
        t = t.detach()
    np.testing.assert_allclose(slerp(t[:, :4], torch.from_numpy(y), 0.4).numpy(), slerp(x[:, :4], y, 0.4))


def test_properties_memory_is_flat():
    """Ten times the rows take no more memory: a stream is never held."""

    def stream(n):
        rng = RNG(0)
        for _ in range(0, n, 1000):
            x = rng.standard_normal((1000, 64), dtype=np.float32)
            yield x, x[:, :32]

    peaks = []
    for n in (10_000, 100_000):
        tracemalloc.start()
        CanonicalDirections(ridge=0.01).fit_rows(stream(n))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 100_000


def test_properties_no_sklearn_and_no_torch():
    import subprocess

    code = "import sys, isthmus.parts.linear; print('sklearn' in sys.modules, 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "False"]


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: LeastSquares().fit(x[:4], y[:4]), "4 rows .* of width 5 span 3 directions"),
        (lambda x, y: LeastSquares().fit(np.c_[x, x[:, 0]], y), "width 6 span 5"),
        (lambda x, y: LeastSquares(ridge=-1).fit(x, y), "ridge = -1"),
        (lambda x, y: LeastSquares(ridge=1).fit(np.ones((4, 2)), np.ones((4, 2))), "do not vary"),
        (lambda x, y: LeastSquares().fit(x, y[:-1]), r"x \(60, 5\) and y \(59, 4\)"),
        (lambda x, y: LeastSquares().fit(x / (np.arange(60)[:, None] != 7), y), "x is not finite in row 7"),
        (lambda x, y: LeastSquares().transform(x), "not fitted yet"),
        (lambda x, y: LeastSquares().fit(x, y).transform(x[:, 1:]), "4 features, but LeastSquares is expecting 5"),
        (lambda x, y: Procrustes().fit(np.ones((9, 3)), y[:9]), "9 pairs"),
        (lambda x, y: CanonicalDirections(k=9).fit(x, y), "k = 9.*1 to 4"),
        (lambda x, y: CanonicalDirections().fit(np.c_[x, x[:, 0]], y), "60 rows .* of x, of width 6, span 5"),
        (lambda x, y: CanonicalDirections(ridge=1).fit(x, np.ones((60, 2))), "of y, of width 2, span 0"),
        (lambda x, y: Standardise().fit(np.c_[x, np.ones(60)]), "1 of 6 columns are constant, the first is column 5"),
        (lambda x, y: Centre().fit_rows([]), "blocks were empty"),
        (lambda x, y: Centre().fit_rows([x, x[:, :2]]), "rows from 60 on are of widths"),
        (lambda x, y: RelativeProjection(similarity="basis").fit(x[:9]), "9 anchors span 5"),
        (lambda x, y: RelativeProjection().fit(np.zeros((2, 3))), "row 0 is all zeros"),
        (lambda x, y: RelativeProjection().fit(x).transform(np.zeros((2, 5))), "row 0 is all zeros"),
        (lambda x, y: RelativeProjection(similarity="angular").fit(x).inverse_transform(np.ones((1, 60))), "no linear"),
        (lambda x, y: RelativeProjection(similarity="dot").fit(x), "'dot' is none of"),
        (lambda x, y: slerp(x, -x, 0.5), "opposite"),
        (lambda x, y: slerp(x, y, 0.5), "two \\(n, d\\) arrays"),
        (lambda x, y: slerp(x, x, 1.5), "t = 1.5"),
    ],
)  # fmt: skip
def test_errors(call, message):
    with pytest.raises(BadInput, match=message):
        call(*pairs())
