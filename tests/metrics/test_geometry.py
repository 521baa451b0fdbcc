import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.metrics import vectors
from isthmus.metrics.geometry import alignment, effective_rank, modality_gap, spectrum, uniformity
from tests.metrics.samplers import SHAPES, TOLERANCE, rotation
from tests.metrics.samplers import vectors as sample
from tests.oracles import geometry as oracle

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
ALL = pytest.mark.parametrize("shape", SHAPES)


@DTYPES
@ALL
def test_oracle(shape, dtype):
    a, b = sample(shape, 23, 5, 0, dtype), sample(shape, 23, 5, 1, dtype)
    near = {"rel": TOLERANCE[dtype], "abs": TOLERANCE[dtype]}
    lists = a.astype(float).tolist(), b.astype(float).tolist()
    assert modality_gap(a, b) == pytest.approx(oracle.modality_gap(*map(oracle.normalised, lists)), **near)
    assert modality_gap(a, b, sphere=False) == pytest.approx(oracle.modality_gap(*lists), **near)
    for power in (1, 2, 3):
        assert alignment(a, b, power=power) == pytest.approx(oracle.alignment(*lists, power), **near)
    for t in (0.5, 2.0):
        assert uniformity(a, t=t) == pytest.approx(oracle.uniformity(lists[0], t), rel=1e-4, abs=1e-5)


@ALL
def test_oracle_effective_rank(shape):
    x = sample(shape, 40, 7, 2)
    for centred in (True, False):
        values = np.linalg.svd(x - centred * x.mean(axis=0), compute_uv=False)
        values[values < 1e-9 * values[0]] = 0
        np.testing.assert_allclose(spectrum(x, centred=centred), values, rtol=1e-6, atol=1e-6 * values[0])
        assert effective_rank(x, centred=centred) == pytest.approx(oracle.effective_rank(values.tolist()), rel=1e-5)


# ------------------------------------------------------------------ relations


def test_relations_modality_gap():
    x = sample("gaussian", 50, 8, 0)
    shift = np.arange(8.0)
    assert modality_gap(x, x) == 0
    assert modality_gap(x, x[::-1]) == pytest.approx(0, abs=1e-15)
    assert modality_gap(x, x + shift, sphere=False) == pytest.approx(np.linalg.norm(shift))
    assert modality_gap([[3.0, 0.0]], [[-0.1, 0.0], [-7.0, 0.0]]) == pytest.approx(2)
    assert modality_gap([[1.0, 0.0]], [[0.0, 1.0]]) == pytest.approx(np.sqrt(2))


def test_relations_alignment():
    a, b = sample("gaussian", 30, 6, 0), sample("gaussian", 30, 6, 1)
    cosine = np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert alignment(a, b) == pytest.approx(2 - 2 * cosine.mean())
    assert alignment(a, 4 * a) == pytest.approx(0, abs=1e-12)
    assert alignment(a, -a) == pytest.approx(4)
    assert alignment(a, -a, power=3) == pytest.approx(8)


@pytest.mark.parametrize("t", [1.0, 2.0, 5.0])
def test_relations_uniformity(t):
    assert uniformity(np.ones((9, 4)), t=t) == pytest.approx(0, abs=1e-12)
    assert uniformity([[1.0], [-1.0]], t=t) == pytest.approx(-4 * t)
    for n in (3, 7):
        simplex = np.eye(n) - 1 / n
        assert uniformity(simplex, t=t) == pytest.approx(-2 * t * n / (n - 1))
        assert uniformity(np.eye(n), t=t) == pytest.approx(-2 * t)


def test_relations_uniformity_of_the_sphere():
    """Uniform points on the circle: E exp(−t‖x−y‖²) = exp(−2t) I₀(2t)."""
    angle = np.linspace(0, 2 * np.pi, 2001)[:-1]
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    expected = np.log((np.exp(-4) * np.i0(4.0) * 2000 - 1) / 1999)
    assert uniformity(points) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("d", [1, 2, 5, 16])
def test_relations_effective_rank_isotropic(d):
    cross = np.vstack([np.eye(d), -np.eye(d)])
    assert effective_rank(cross) == pytest.approx(d)
    assert effective_rank(1e-3 * cross @ rotation(d) + 7) == pytest.approx(d)


def test_relations_effective_rank():
    line = np.outer(np.arange(20.0), np.ones(6))
    assert effective_rank(line) == pytest.approx(1)
    assert effective_rank(line.astype(np.float32) + 3) == pytest.approx(1)
    assert effective_rank(np.full((20, 6), 0.1)) == 0
    assert effective_rank(np.full((20, 6), 0.1, dtype=np.float32)) == 0
    assert effective_rank(np.full((20, 6), 0.1), centred=False) == pytest.approx(1)
    assert effective_rank(np.ones((1, 6))) == 0
    assert effective_rank(np.zeros((3, 2))) == 0
    # one direction twice as strong as another: p = (2/3, 1/3)
    two = np.array([[2.0, 0], [-2, 0], [0, 1], [0, -1]])
    assert effective_rank(two) == pytest.approx(3 / 2 ** (2 / 3))


# ------------------------------------------------------------------ properties


@ALL
def test_properties(shape):
    x, y = sample(shape, 40, 6, 0), sample(shape, 40, 6, 1)
    turn = rotation(6)
    order = np.random.default_rng(0).permutation(40)
    assert effective_rank(x @ turn) == pytest.approx(effective_rank(x))
    assert effective_rank(5 * x[order]) == pytest.approx(effective_rank(x))
    assert 1 <= effective_rank(x) <= 6
    assert modality_gap(y, x) == modality_gap(x, y)
    assert modality_gap(2 * x @ turn, y @ turn) == pytest.approx(modality_gap(x, y))
    assert alignment(x[order], y[order]) == pytest.approx(alignment(x, y))
    assert uniformity(3 * x[order] @ turn) == pytest.approx(uniformity(x))
    assert -8 <= uniformity(x) <= 0


def test_properties_wide_and_tall_spectra_agree():
    x = sample("gaussian", 5, 30, 0)
    np.testing.assert_allclose(spectrum(x, centred=False), spectrum(x.T, centred=False))
    assert effective_rank(x) <= 4


def test_properties_blocks_and_samples(monkeypatch):
    x = sample("gaussian", 300, 6, 0)
    whole = uniformity(x)
    monkeypatch.setattr(vectors, "CELLS", 700)
    assert uniformity(x) == pytest.approx(whole)
    assert uniformity(x, sample=300) == pytest.approx(whole)
    assert uniformity(x, sample=200, seed=1) == pytest.approx(whole, abs=0.1)
    assert uniformity(x, sample=200, seed=1) == uniformity(x, sample=200, seed=1) != uniformity(x, sample=200, seed=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: modality_gap(np.ones((2, 3)), np.ones((2, 4))), r"a \(2, 3\) and b \(2, 4\).*columns"),
        (lambda: modality_gap(np.zeros((2, 3)), np.ones((2, 3))), "a row 0 is all zeros"),
        (lambda: modality_gap(np.empty((0, 3)), np.ones((2, 3))), r"a has shape \(0, 3\)"),
        (lambda: alignment(np.ones((2, 3)), np.ones((3, 3))), "same number of rows"),
        (lambda: alignment(np.ones((2, 3)), np.ones((2, 4))), "one space"),
        (lambda: uniformity(np.ones((1, 3))), r"n ≥ 2"),
        (lambda: uniformity(np.ones((5, 3)), sample=1), "sample = 1"),
        (lambda: uniformity(np.full((5, 3), np.inf)), "x is not finite in row 0"),
        (lambda: effective_rank(np.ones(3)), r"\(3,\)"),
        (lambda: effective_rank(np.full((5, 3), "a")), "x holds"),
    ],
)
def test_errors(call, message):
    with pytest.raises(BadInput, match=message):
        call()


def test_half_precision_and_integers_are_numbers():
    assert modality_gap(np.eye(3, dtype=np.float16), np.eye(3, dtype=int)) == pytest.approx(0, abs=1e-6)
