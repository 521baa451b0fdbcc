"""The page in a real browser: typing, files, the microphone, keys, a phone, the dark, and nothing from elsewhere."""

import os
import re
from pathlib import Path

import pytest

from isthmus.web.settings import Settings
from tests import require

from .served import png, wav
from .test_openai import running

pytestmark = pytest.mark.usefixtures("socket_enabled")
FAKE_MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
UNNAMED = """() => [...document.querySelectorAll('button, input, select, a, canvas, audio, img')]
    .filter(e => e.checkVisibility())
    .filter(e => !(e.getAttribute('aria-label') || e.labels?.length || e.alt || e.innerText.trim()))
    .map(e => e.outerHTML)"""


@pytest.fixture(scope="module")
def browser():
    require.module("playwright", "serve")
    chromium = require.program("chromium", "chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", *FAKE_MICROPHONE])
        yield opened
        opened.close()


@pytest.fixture
def address(index):
    with running(Settings(folders={"colours": str(index.path)}, stores={}, port=0)) as at:
        yield at


@pytest.fixture
def page(browser, address):
    """The page, opened; a request that leaves the server, or a script that fails, fails the test."""
    view = browser.new_page(viewport={"width": 1100, "height": 800})
    wrong = []
    view.on("pageerror", lambda error: wrong.append(str(error)))
    view.on("request", lambda r: None if r.url.startswith((address, "blob:", "data:")) else wrong.append(r.url))
    view.goto(address)
    view.wait_for_selector("#status:has-text('6 image')")
    yield view
    view.close()
    assert not wrong


@pytest.fixture
def shot(tmp_path):
    """Keep a picture of the page, in the folder ISTHMUS_SHOTS where it is named."""
    folder = Path(os.environ.get("ISTHMUS_SHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return lambda view, name: view.screenshot(path=folder / f"{name}.png")


def until(page, expression, seconds=20):
    """Wait until an expression is true; the page itself may evaluate no text, by its own policy."""
    for _ in range(20 * seconds):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{expression} is not true after {seconds} s")


def asked(page, text):
    page.focus("#text")
    page.keyboard.press("Control+A")
    page.keyboard.type(text)
    with page.expect_response("**/search"):
        page.keyboard.press("Enter")
    until(page, "document.getElementById('status').textContent.includes('hit')")


def hits(page):
    return [
        re.sub(r"^\d+: |, score.*", "", label)
        for label in page.eval_on_selector_all("#hits .hit", "all => all.map(e => e.getAttribute('aria-label'))")
    ]


def test_words_and_keys(page, shot):
    shot(page, "empty")
    assert page.is_visible("#empty") and page.eval_on_selector_all("#hits > *", "all => all.length") == 0
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "text"
    asked(page, "red")
    assert hits(page)[0] == "red, image" and not page.is_visible("#empty")
    until(page, "[...document.querySelectorAll('.hit img')].every(i => i.complete)")
    shot(page, "results")
    page.focus(".hit")
    page.keyboard.press("ArrowRight")
    second = hits(page)[1]
    with page.expect_response("**/search"):
        page.keyboard.press("Enter")
    page.wait_for_selector("#given img, #text:focus")
    assert page.input_value("#text") == second.removesuffix(", image"), "without its picture it is looked for in words"
    assert "q=" in page.evaluate("location.hash") or page.input_value("#text") == ""
    page.keyboard.press("Escape")
    assert page.is_visible("#empty") and page.input_value("#text") == ""


def test_a_picture_words_and_what_is_not_wanted(page, tmp_path, shot):
    (tmp_path / "my blue.png").write_bytes(png("blue"))
    with page.expect_response("**/search"):
        page.set_input_files("#image-file", tmp_path / "my blue.png")
    until(page, "document.querySelector('.hit')?.ariaLabel.includes('blue, text')")
    assert page.get_attribute("#given img", "alt") == "The picture to look for: my blue.png"
    page.click("#more summary")
    page.fill("#minus", "green; violet")
    with page.expect_request("**/search") as sent:
        asked(page, "red")
    body = sent.value.post_data_json
    assert body["text"] == "red" and body["image"].startswith("data:image/png;base64,")
    assert body["minus"] == ["green", "violet"]
    until(page, "document.querySelector('.hit')?.ariaLabel.includes('image')")
    assert "+ image" in page.inner_text(".hit .why") and "− text 2" in page.inner_text(".hit .why")
    shot(page, "composed")
    page.click("[aria-label='Remove the picture']")
    assert page.is_hidden("#given img")


GIVEN = """([kind, base64, event]) => {
    const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], 'given.png', {type: kind}));
    const made = event === 'drop' ? new DragEvent('drop', {dataTransfer: data, bubbles: true})
        : new ClipboardEvent('paste', {clipboardData: data, bubbles: true});
    document.body.dispatchEvent(made);
}"""


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_picture_dropped_or_pasted(page, event):
    import base64

    with page.expect_response("**/search"):
        page.evaluate(GIVEN, ["image/png", base64.b64encode(png("violet")).decode(), event])
    until(page, "document.querySelector('.hit')?.ariaLabel.includes('violet')")


def test_recordings(page, tmp_path, shot):
    (tmp_path / "say.wav").write_bytes(wav("green"))
    with page.expect_response("**/search"):
        page.set_input_files("#sound-file", tmp_path / "say.wav")
    until(page, "document.querySelector('.hit')?.ariaLabel.includes('green')")
    assert page.is_visible("#given audio")
    page.click("[aria-label='Remove the recording']")
    page.click("#record")
    page.wait_for_selector("#record[aria-pressed=true]")
    page.wait_for_timeout(600)
    with page.expect_request("**/search") as sent:
        page.click("#record")
    assert sent.value.post_data_json["sound"].startswith("data:audio/wav;base64,")
    until(page, "document.getElementById('status').textContent.includes('hits')")
    shot(page, "recorded")


def test_what_was_uploaded_is_shown_and_heard(page, address):
    at = f"{address}/v1/collections/colours"
    files = {"file": {"name": "<img src=x onerror=alert(1)>.wav", "mimeType": "audio/wav", "buffer": wav("violet")}}
    assert page.request.post(f"{at}/upload", multipart=files).ok
    (picture,) = [{"file": {"name": "dusk.png", "mimeType": "image/png", "buffer": png("violet")}}]
    assert page.request.post(f"{at}/upload", multipart=picture).ok
    asked(page, "violet")
    assert {"dusk.png, image", "violet, image"} & set(hits(page)[:3])
    until(page, "document.querySelector('.hit img')?.naturalWidth > 0")
    assert page.locator(".hit audio").count() == 1
    page.eval_on_selector(".hit audio", "e => { e.preload = 'metadata'; e.load(); }")
    until(page, "document.querySelector('.hit audio').duration > 0.2")
    assert page.locator(".hit blockquote img").count() == 0, "a name is a text, whatever it looks like"


def test_the_other_views(page, shot):
    page.click("#tab-map")
    page.wait_for_selector("#map-says:has-text('12 items')")
    before = page.evaluate("document.getElementById('plane').toDataURL()")
    page.click("#zoom-in")
    page.focus("#plane")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.getElementById('plane').toDataURL()") != before
    page.click("#zoom-all")
    page.focus("#plane")
    page.keyboard.press("n")
    until(page, "/\\((image|text)\\)/.test(document.getElementById('map-says').textContent)")
    shot(page, "map")
    page.focus("#tab-map")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#view-health table")
    shot(page, "health")
    assert "image to text: 6 questions, 6 items" in page.inner_text("#view-health")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#view-methods table")
    shot(page, "methods")
    assert "dbnorm" in page.inner_text("#view-methods") and "hold" in page.inner_text("#view-methods")
    assert page.evaluate(UNNAMED) == []


def test_filters_and_errors(page, shot):
    page.click("#more summary")
    page.fill("#where", "year > 2004")
    asked(page, "red")
    assert hits(page) == ["white, image"]
    page.check("#kinds input[value=text]")
    until(page, "document.querySelector('.hit')?.ariaLabel.includes('white, text')")
    page.fill("#where", "year > 3000")
    asked(page, "red")
    assert "no item fits" in page.inner_text("#status")
    page.fill("#where", "year >")
    page.press("#where", "Enter")
    page.wait_for_selector("#status.wrong")
    assert "cannot be read" in page.inner_text("#status")
    shot(page, "error")
    assert page.evaluate(UNNAMED) == []


def test_a_phone_in_the_dark(browser, address, shot):
    view = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme="dark", has_touch=True, is_mobile=True)
    view.goto(f"{address}#q=blue")
    view.wait_for_selector(".hit")
    assert view.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing stands over the edge"
    dark = view.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in re.findall(r"\d+", dark)[:3]) < 60
    heights = view.eval_on_selector_all(
        "button", "all => all.filter(e => e.checkVisibility()).map(e => e.getBoundingClientRect().height)"
    )
    assert min(heights) >= 40, "a finger finds them"
    shot(view, "phone-dark")
    view.tap("#tab-map")
    view.wait_for_selector("#map-says:has-text('12 items')")
    view.close()


def test_a_key_is_asked_for(browser, index, tmp_path, shot):
    (tmp_path / "keys").write_text("a-key-of-thirty-two-characters-x")
    settings = Settings(folders={"colours": str(index.path)}, stores={}, key_file=str(tmp_path / "keys"))
    with running(settings) as address:
        view = browser.new_page()
        view.goto(address)
        view.wait_for_selector("dialog[open]")
        shot(view, "key")
        view.fill("#key", "wrong")
        view.keyboard.press("Enter")
        view.wait_for_selector("dialog[open]")
        view.fill("#key", "a-key-of-thirty-two-characters-x")
        view.keyboard.press("Enter")
        view.wait_for_selector("#status:has-text('6 image')")
        asked(view, "green")
        assert hits(view)[0] == "green, image"
        view.close()
