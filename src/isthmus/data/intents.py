"""Spoken requests to a house and a telephone: thirty intents in many wordings, and 35 keywords, in eight voices.

Nothing is downloaded: the sentences come from the small grammar in this file, and espeak-ng speaks them when a record
is loaded, in about 20 ms, so that no recording is kept on disk. A recording is decided by its sentence, its voice and
`seed`: they choose pitch, speed and the noise under it. The same version of espeak-ng gives the same samples.

In a wording ``(turn|switch) on`` is a choice and ``{room}`` one of `SLOTS`; each wording gives `FILLINGS` different
sentences. An intent is described by the words of its title (`DESCRIPTIONS`), which no wording has to contain.
"""

import functools
import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from isthmus.core.errors import BadInput, MissingExtra, NotFound
from isthmus.data.card import DataCard
from isthmus.data.records import DataSet, Record, text_record
from isthmus.data.sound import Sound

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

__all__ = ["CARD", "DESCRIPTIONS", "KEYWORDS", "VOICES", "load", "open_picture", "recording", "speak", "wordings"]

CARD = DataCard(
    name="intents",
    title="Spoken requests of 30 intents, and 35 keywords, by espeak-ng",
    licence="Apache-2.0 (the sentences); the voices are those of espeak-ng, GPL-3.0-or-later",
    attribution="Isthmus; spoken by espeak-ng, © Reece H. Dunn and contributors",
    packages=("espeak-ng (Debian)",),
    extra="",
    counts=(
        "1,200 sentences of 30 intents (240 wordings, 5 sentences each) and 35 keywords, each spoken in 8 voices: "
        "9,880 recordings, made when they are loaded; 275 near-duplicate groups"
    ),
    modalities=("text", "speech"),
    variants=("text: en", "speech: a voice of espeak-ng"),
    split="an intent is held out whole, or a wording of it with all its sentences; a voice where voices are held out",
    near_duplicates="one group: the sentences of one wording, which differ in a name, a number or a place",
    schemes=("intents",),
)

VOICES = (
    "en-gb",
    "en-us+f2",
    "en-gb-scotland",
    "en-gb-x-rp+f3",
    "en-gb-x-gbclan+m3",
    "en-gb-x-gbcwmd+f4",
    "en-029+m7",
    "en-us-nyc+f5",
)
"""Accents of English, with the variants of espeak-ng that change who speaks: four men and four women."""

RATE = 22_050
FILLINGS = 5
PAUSE = 0.15
"""Seconds of noise alone before the first and after the last word."""

KEYWORDS = (
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy",
    "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila", "six", "stop",
    "three", "tree", "two", "up", "visual", "wow", "yes", "zero",
)  # fmt: skip
"""Those of Google's Speech Commands, version 2."""

SLOTS = {
    "time": "six o'clock|half past seven|nine in the evening|noon|five thirty|eleven at night|ten to four",
    "day": "today|tomorrow|Monday|on Friday|this weekend|next Tuesday|on Sunday|on Wednesday",
    "date": "the third of May|the first of June|next Thursday|Saturday night|the end of the month|Christmas Eve",
    "span": "five minutes|ten minutes|half an hour|an hour|ninety seconds|three minutes|a quarter of an hour|two hours",
    "room": "kitchen|bedroom|living room|hall|bathroom|office|garage|dining room|cellar|nursery",
    "city": "London|Paris|Madrid|Chicago|Rome|Boston|Berlin|Oslo|Lisbon|Sydney",
    "person": "Anna|my mother|John|the doctor|my boss|Peter|my sister|David|grandma|Laura",
    "artist": "the Beatles|Mozart|Nina Simone|Miles Davis|Queen|Bob Dylan|Aretha Franklin|Bach",
    "style": "jazz|classical music|rock|folk songs|piano music|something quiet|the blues|dance music",
    "food": "milk|bread|a dozen eggs|apples|coffee|rice|tomatoes|butter|two lemons|cheese",
    "dish": "pancakes|lasagna|chicken soup|apple pie|fried rice|mushroom risotto|banana bread|curry",
    "meal": "a pizza|sushi|two burgers|noodles|a salad|tacos|fish and chips|a vegetable curry",
    "colour": "red|blue|green|warm white|purple|orange|yellow|pink",
    "degrees": "eighteen degrees|twenty degrees|twenty one|sixteen degrees|nineteen and a half|twenty three degrees",
    "number": "forty two|seventeen|three hundred|ninety nine|six point five|twelve|eight thousand|sixty four",
    "money": "fifty dollars|twenty euros|a hundred pounds|eighty dollars|ten euros|two thousand yen",
    "currency": "dollars|euros|pounds|yen|Swiss francs|pesos",
    "language": "French|Spanish|German|Italian|Japanese|Polish|Greek|Swedish",
    "phrase": "good morning|thank you|where is the station|I am hungry|how much is it|see you tomorrow",
    "word": "serendipity|photosynthesis|democracy|entropy|melancholy|paradox|gravity|irony",
    "thing": "keys|phone|glasses|wallet|laptop|umbrella|passport|headphones",
    "chore": "water the plants|pay the rent|call the bank|take my pills|feed the cat|buy a present|charge the car",
    "event": "a meeting|lunch with Anna|the dentist|a haircut|a call with the team|football practice",
    "team": "Arsenal|the Lakers|Barcelona|the Yankees|Liverpool|the Bulls|Juventus|the Giants",
    "topic": "politics|science|the economy|sports|technology|the elections|business|health",
    "company": "Apple|Tesla|Siemens|Toyota|Amazon|Nestle|Intel|Netflix",
    "place": "the airport|the station|work|the hospital|the museum|the city centre|school|the beach",
    "shop": "pharmacy|petrol station|supermarket|coffee shop|bakery|Italian restaurant|bank|hotel",
    "ask": "please|can you|could you|would you|I want you to|go ahead and",
}  # fmt: skip
"""What may stand for a name in braces."""

GRAMMAR = {
    "set an alarm": """
        set an alarm for {time} | wake me up at {time} | I need to get up at {time} {day}
        {ask} set the alarm to {time} | make sure I am awake by {time} | alarm at {time} {day}
        don't let me sleep past {time} | ring me out of bed at {time}""",
    "cancel an alarm": """
        cancel my alarm for {time} | turn off the alarm at {time} | delete the {time} alarm
        {ask} remove all alarms {day} | I don't need the alarm {day} | no alarm {day}
        let me sleep in {day} and drop the alarm | switch off the wake up call at {time}""",
    "start a timer": """
        set a timer for {span} | start a countdown of {span} | tell me when {span} have passed | {ask} time {span}
        count down {span} | timer for {span} | beep in {span} | {span} on the clock starting now""",
    "turn the lights on": """
        turn on the lights in the {room} | (switch|put) the {room} light on | it is too dark in the {room}
        lights on in the {room} | {ask} light up the {room} | I can't see anything in the {room} | illuminate the {room}
        make it bright in the {room}""",
    "turn the lights off": """
        turn off the lights in the {room} | (switch|put) the {room} light out | lights out in the {room}
        {ask} darken the {room} | nobody needs light in the {room} | kill the lamp in the {room}
        no more light in the {room} | leave the {room} dark""",
    "change the colour of the lights": """
        make the lights {colour} | change the {room} lamp to {colour} | I want {colour} light in the {room}
        {ask} paint the {room} {colour} | set the colour of the lamp to {colour} | turn the bulbs {colour}
        {colour} light in the {room} | a {colour} glow for the {room}""",
    "set the heating": """
        set the heating to {degrees} | make the {room} warmer | it is too cold in the {room}
        turn the thermostat to {degrees} | {ask} heat the {room} to {degrees} | I am freezing in the {room}
        raise the temperature to {degrees} | cool the {room} down to {degrees}""",
    "play music": """
        play (some|a little) {style} | put on {artist} | I want to listen to {artist} | {ask} play an album by {artist}
        start a playlist of {style} | let me hear {style} | I am in the mood for {style} | some songs by {artist}""",
    "stop the music": """
        stop the music {ask} | pause the song in the {room} | {ask} stop playing {artist} | no more {style} now
        silence the speaker in the {room} | turn off that {style} | be quiet in the {room}
        end the playlist of {style}""",
    "change the volume": """
        turn the volume up to {number} | make it louder in the {room} | lower the volume in the {room}
        {ask} turn it down a bit | the speaker in the {room} is too loud | set the volume to {number}
        I can hardly hear {artist} | speak up in the {room}""",
    "weather forecast": """
        what's the weather like in {city} | will it rain {day} | do I need an umbrella in {city}
        how cold does it get in {city} {day} | is it sunny in {city} | give me the forecast for {city}
        will there be snow {day} | how hot is it in {city}""",
    "tell the time": """
        what time is it in {city} | tell me the time in {city} | how late is it in {city} | {ask} say the time
        what does the clock say in {city} | give me the hour in {city} | is it already {time}
        is it later than {time}""",
    "add a calendar event": """
        put {event} in my calendar for {date} | schedule {event} {day} at {time} | I have {event} {day}
        {ask} add {event} on {date} | book {event} for {date} | note {event} in my diary for {date}
        plan {event} at {time} | make an appointment for {event} {day}""",
    "read the calendar": """
        what's on my calendar {day} | am I free {day} | do I have anything planned for {date}
        what is my next appointment {day} | {ask} read my agenda for {date} | what does my schedule look like {day}
        when is {event} | which meetings do I have {day}""",
    "set a reminder": """
        remind me to {chore} | don't let me forget to {chore} | set a reminder to {chore} at {time}
        {ask} remind me {day} to {chore} | I must not forget to {chore} | tell me at {time} to {chore}
        I have to remember to {chore} {day} | give me a nudge to {chore}""",
    "add to the shopping list": """
        add {food} to my shopping list | we are out of {food} | put {food} on the list | I need to buy {food}
        {ask} write down {food} for the groceries | we need more {food} from the store | get {food} next time we shop
        there is no {food} left""",
    "make a phone call": """
        call {person} | ring {person} on the mobile | I want to talk to {person} | {ask} dial {person}
        get {person} on the line | phone {person} at {time} | start a call with {person} | connect me with {person}""",
    "send a message": """
        send a message to {person} | text {person} that I am late | write {person} that I will come {day}
        {ask} message {person} | let {person} know I arrive at {time} | tell {person} by text {phrase}
        drop {person} a line | send {person} a note saying {phrase}""",
    "read the news": """
        what's the news about {topic} | read me the headlines on {topic} | what is happening in {city}
        {ask} tell me the latest in {topic} | any news on {topic} | give me a briefing on {topic}
        what happened in {topic} {day} | news from {city}""",
    "sports results": """
        how did {team} do | what was the score of {team} | did {team} win {day} | {ask} give me the result of {team}
        who won the match against {team} | when does {team} play next | how many goals did {team} score
        where is {team} in the league""",
    "stock prices": """
        what is the share price of {company} | how is {company} doing on the stock market | quote for {company}
        {ask} check the stock of {company} | are {company} shares up {day} | what does one {company} share cost
        how did {company} stock close {day} | is {company} trading higher""",
    "convert currency": """
        how much is {money} in {currency} | convert {money} to {currency} | what do I get for {money} in {currency}
        {ask} change {money} into {currency} | the exchange rate of {currency} | {money} in {currency}
        what are {money} worth in {currency} | exchange {money} for {currency}""",
    "calculate": """
        what is {number} plus {number} | how much is {number} times {number} | {number} divided by {number}
        {ask} add {number} and {number} | the square root of {number} | subtract {number} from {number}
        multiply {number} by {number} | what percent of {number} is {number}""",
    "translate": """
        how do you say {phrase} in {language} | translate {phrase} into {language} | what is {phrase} in {language}
        {ask} put {phrase} into {language} | the {language} for {phrase}
        how would someone from {city} say {phrase} in {language} | {phrase} in {language}
        tell me {phrase} in {language}""",
    "define a word": """
        what does {word} mean | define {word} | give me the meaning of {word} | {ask} explain the word {word}
        what is the definition of {word} | look up {word} in the dictionary | what do people mean by {word}
        I don't understand the word {word}""",
    "directions and traffic": """
        how do I get to {place} | navigate to {place} | what's the traffic like on the way to {place}
        {ask} take me to {place} | show me the route to {place} | how long is the drive to {place}
        which way is {place} | are there jams before {place}""",
    "find a place nearby": """
        find a {shop} near me | where is the nearest {shop} | is there a {shop} around here | {ask} look for a {shop}
        I am looking for a {shop} | which {shop} is open at {time} | any good {shop} close by
        the closest {shop} to {place}""",
    "find a recipe": """
        how do I make {dish} | find a recipe for {dish} | what do I need to cook {dish}
        {ask} show me how to bake {dish} | I want to cook {dish} {day} | the ingredients of {dish}
        give me instructions for {dish} | how long does {dish} take in the oven""",
    "order food": """
        order {meal} for me | I would like {meal} delivered at {time} | get me {meal} from the takeaway
        {ask} order {meal} | have {meal} brought to the {room} | we want {meal} for delivery
        call the delivery service for {meal} | {meal} to take away""",
    "find a lost thing": """
        where are my {thing} | I lost my {thing} | help me find my {thing} | {ask} look for my {thing}
        I can't find my {thing} | did I leave my {thing} in the {room} | make my {thing} ring
        have you seen my {thing}""",
}  # fmt: skip
"""Wordings of every intent, by its description."""

DESCRIPTIONS = tuple(GRAMMAR)


def load(*, seed: int = 0) -> DataSet:
    """Return a text and eight recordings of each sentence and keyword.

    The meta of a record holds its ``kind``, intent or keyword, and its ``intent``: the description, or the keyword.
    Its group is the wording. A recording loads as `Sound`; `seed` draws its pitch, speed and noise.

    Raises `MissingExtra` without the program espeak-ng.
    """
    _program()
    return DataSet("intents", list(_records(seed)), CARD)


def wordings(description: str) -> dict[str, list[str]]:
    """Return the sentences of each wording of an intent; `NotFound` for an unknown one."""
    if description not in GRAMMAR:
        raise NotFound.named("intent", description, GRAMMAR)
    return {pattern: _sentences(pattern) for pattern in _patterns(GRAMMAR[description])}


def _patterns(text: str) -> list[str]:
    """Split the wordings of an intent at the bars that stand outside of parentheses."""
    return [part.strip() for line in text.strip().splitlines() for part in re.split(r"\|(?![^(]*\))", line)]


def _sentences(pattern: str) -> list[str]:
    """Return different sentences of a wording, drawn by its own text."""
    draw = np.random.default_rng(_number(pattern))
    found: dict[str, None] = {}
    for _ in range(100 * FILLINGS):
        sentence = re.sub(r"\(([^()]*)\)", lambda m: str(draw.choice(m[1].split("|"))), pattern)
        sentence = re.sub(r"\{(\w+)\}", lambda m: str(draw.choice(SLOTS[m[1]].split("|"))), sentence)
        found[sentence] = None
        if len(found) == FILLINGS:
            return list(found)
    raise BadInput(f"the wording {pattern!r} gives fewer than {FILLINGS} sentences: it needs a slot of more words")


def speak(text: str, voice: str, *, pitch: int = 50, speed: int = 175) -> Sound:
    """Return what espeak-ng says, without noise: pitch from 0 to 99, speed in words a minute (80 to 450).

    A voice of an unknown accent speaks the nearest one that there is. Raises `BadInput` for a language that espeak-ng
    does not have and for a text without a sound, `MissingExtra` without the program.
    """
    command = [_program(), "--stdin", "--stdout", "-v", voice, "-p", str(pitch), "-s", str(speed)]
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    # a pipe cannot be rewound, so the header holds no length; what follows it are the samples
    at = done.stdout.find(b"data")
    samples = np.frombuffer(done.stdout[at + 8 :], dtype="<i2") if at >= 0 else np.empty(0, np.int16)
    if done.returncode != 0 or done.stderr or not len(samples):
        said = done.stderr.decode(errors="replace").strip() or f"nothing, with status {done.returncode}"
        raise BadInput(f"espeak-ng cannot say {text[:60]!r} with the voice {voice!r}: {said}")
    return {"array": samples.astype(np.float32) / 32768, "sampling_rate": RATE}


def recording(text: str, voice: str, seed: int = 0) -> Sound:
    """Return any sentence as the data set has it: at a pitch and speed of its own, 15 to 35 dB above the noise."""
    draw = np.random.default_rng(_number(f"{seed}|{voice}|{text}"))
    said = speak(text, voice, pitch=int(draw.integers(30, 71)), speed=int(draw.integers(140, 211)))["array"]
    padded = np.pad(said, int(PAUSE * RATE))
    level = float(np.sqrt(np.mean(said**2))) * 10 ** (-float(draw.uniform(15, 35)) / 20)
    noisy = padded + level * draw.standard_normal(len(padded), dtype=np.float32)
    return {"array": noisy.astype(np.float32), "sampling_rate": RATE}


def open_picture(key: str, root: "Path | None" = None) -> "Image.Image":
    """Say that there are none: every record is a text or a recording."""
    raise NotFound(f"the data set intents has no pictures, and so none of {key!r}")


def _records(seed: int) -> Iterator[Record]:
    said = [
        (f"{description.replace(' ', '-')}/{w}-{i}", sentence, f"{description.replace(' ', '-')}/{w}", description)
        for description in GRAMMAR
        for w, sentences in enumerate(wordings(description).values())
        for i, sentence in enumerate(sentences)
    ]
    said += [(f"keyword/{word}", word, f"keyword/{word}", word) for word in KEYWORDS]
    for key, sentence, group, intent in said:
        meta = {"kind": "keyword" if key.startswith("keyword/") else "intent", "intent": intent}
        yield text_record(key, sentence, variant="en", group=group, meta=meta)
        for voice in VOICES:
            yield Record(
                key=key,
                modality="speech",
                variant=voice,
                group=group,
                text=sentence,
                uri=f"intents:{key}/{voice}",
                meta=meta,
                load=functools.partial(recording, sentence, voice, seed),
                digest=functools.partial(_digest, sentence, voice, seed),
            )


def _digest(text: str, voice: str, seed: int) -> str:
    """Return what decides the samples, as a hash: speaking it would cost more than all the rest of a fingerprint."""
    return hashlib.sha256(f"{_version()}|{seed}|{voice}|{text}".encode()).hexdigest()


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _program() -> str:
    if (found := shutil.which("espeak-ng")) is None:
        raise MissingExtra("the data set intents is spoken by the program espeak-ng: apt install espeak-ng")
    return found


@functools.cache
def _version() -> str:
    return subprocess.run([_program(), "--version"], capture_output=True, text=True, check=True).stdout.split("  ")[0]
