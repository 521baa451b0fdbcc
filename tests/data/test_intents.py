import shutil
from collections import Counter

import numpy as np
import pytest

from isthmus import data
from isthmus.core.errors import BadInput, MissingExtra, NotFound
from isthmus.data import intents
from isthmus.data.intents import DESCRIPTIONS, FILLINGS, KEYWORDS, SLOTS, VOICES, speak, wordings
from tests import require


@pytest.fixture(scope="module")
def spoken():
    require.program("espeak-ng", "espeak-ng")
    return data.load("intents")


def test_counts_are_those_of_the_card(spoken):
    texts, speech = spoken.of("text"), spoken.of("speech")
    kinds = Counter(r.meta["kind"] for r in texts)
    groups = {r.group for r in texts}
    worded = {r.group for r in texts if r.meta["kind"] == "intent"}
    assert spoken.card.counts == (
        f"{kinds['intent']:,} sentences of {len(DESCRIPTIONS)} intents ({len(worded)} wordings, {FILLINGS} sentences "
        f"each) and {kinds['keyword']} keywords, each spoken in {len(VOICES)} voices: {len(speech):,} recordings, made "
        f"when they are loaded; {len(groups)} near-duplicate groups"
    )
    assert spoken.modalities == ["speech", "text"]
    assert Counter(r.meta["intent"] for r in texts if r.meta["kind"] == "intent") == dict.fromkeys(DESCRIPTIONS, 40)
    assert kinds["keyword"] == len(KEYWORDS) == 35


def test_the_grammar():
    said = [s for d in DESCRIPTIONS for sentences in wordings(d).values() for s in sentences]
    assert len(set(said)) == len(said), "no sentence has two intents"
    assert not [s for s in said if set(s) & set("{}()|")], "every slot is filled"
    used = {name for d in DESCRIPTIONS for w in wordings(d) for name in SLOTS if f"{{{name}}}" in w}
    assert used == set(SLOTS)
    assert wordings("play music") == wordings("play music")
    assert [len(s) for s in wordings("play music").values()] == [FILLINGS] * 8
    with pytest.raises(NotFound, match="did you mean 'play music'"):
        wordings("play musik")
    with pytest.raises(BadInput, match="needs a slot of more words"):
        intents._sentences("say (this|that)")


def test_one_sentence(spoken):
    key = "play-music/2-0"
    records = {r.id: r for r in spoken.records if r.key == key}
    text = records[f"{key}|text|en"]
    assert text.load().startswith("I want to listen to")
    assert text.meta == {"kind": "intent", "intent": "play music"}
    assert {r.group for r in records.values()} == {"play-music/2"}
    sounds = {voice: records[f"{key}|speech|{voice}"].load() for voice in VOICES}
    for sound in sounds.values():
        assert sound["array"].dtype == np.float32 and sound["array"].ndim == 1
        assert 1 < len(sound["array"]) / sound["sampling_rate"] < 6
        assert 0.05 < np.abs(sound["array"]).max() <= 1.5
        edge = sound["array"][:2000]
        assert 0 < edge.std() < 0.3 * sound["array"].std(), "it begins with noise alone"
    assert len({len(s["array"]) for s in sounds.values()}) > 4, "voices and speeds differ"
    assert len({r.digest() for r in records.values()}) == 9


def test_recordings_are_decided_by_the_seed(spoken):
    def first(seed):
        record = next(r for r in data.load("intents", seed=seed).of("speech") if r.key == "keyword/bird")
        return record.load()["array"], record.digest()

    (one, digest), (again, same), (other, differs) = first(0), first(0), first(1)
    assert np.array_equal(one, again) and digest == same
    assert one.shape != other.shape or not np.array_equal(one, other)
    assert digest != differs


def test_a_word_is_short_in_every_voice(spoken):
    lengths = [len(speak("stop", voice)["array"]) / intents.RATE for voice in VOICES]
    assert all(0.2 < length < 1.2 for length in lengths)


def test_errors(monkeypatch):
    with pytest.raises(NotFound, match="has no pictures"):
        data.open_uri("intents:keyword/bird/en-gb")
    with pytest.raises(BadInput, match="unexpected keyword"):
        data.load("intents", voices=["x"])
    if shutil.which("espeak-ng"):
        with pytest.raises(BadInput, match="voice does not exist"):
            speak("hello", "zz")
        with pytest.raises(BadInput, match="cannot say ''"):
            speak("", "en-gb")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingExtra, match="apt install espeak-ng"):
        data.load("intents")
