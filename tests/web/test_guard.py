"""Who is let in: keys, hosts, sites, sizes, and what a server says when it fails."""

import asyncio
import logging

import pytest

from isthmus.core.errors import BadInput, NotFound
from isthmus.web import searching
from isthmus.web.guard import Guard, Keys
from isthmus.web.metrics import Metrics
from isthmus.web.settings import Settings, check_address, named_folders

KEY = "a-key-of-thirty-two-characters-x"
SEARCH = "/v1/collections/colours/search"


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"# Anna\n{KEY}\n\nanother-key-of-somebody-else\n")
    return path


def test_keys(index, client_of, keys):
    client = client_of(index.path, key_file=str(keys))
    for path in ("/v1/models", "/v1/collections", "/metrics", "/openapi.json", "/nothing"):
        done = client.get(path)
        assert done.status_code == 401 and done.headers["www-authenticate"] == "Bearer", path
    for path in ("/health", "/ready"):
        assert client.get(path).status_code == 200
    for wrong in ("", "Bearer", f"Basic {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", "Bearer ", "Bearer # Anna"):
        assert client.get("/v1/models", headers={"Authorization": wrong}).status_code == 401, wrong
    for right in (f"Bearer {KEY}", "bearer another-key-of-somebody-else"):
        assert client.get("/v1/models", headers={"Authorization": right}).status_code == 200


def test_keys_are_compared_in_constant_time(keys, monkeypatch):
    """Every key is compared by `hmac.compare_digest` on digests of one length, also after one has fitted."""
    from isthmus.web import guard

    seen = []
    real = guard.hmac.compare_digest
    monkeypatch.setattr(guard.hmac, "compare_digest", lambda a, b: seen.append((len(a), len(b))) or real(a, b))
    assert Keys(keys).open(f"Bearer {KEY}".encode()) and not Keys(keys).open(b"Bearer x")
    assert seen == [(32, 32)] * 4


def test_key_files(tmp_path):
    with pytest.raises(NotFound, match="there is no such file"):
        Keys(tmp_path / "none")
    for content in ("", "# nobody\n", "short\n"):
        (tmp_path / "k").write_text(content)
        with pytest.raises(BadInput, match="at least 16 characters"):
            Keys(tmp_path / "k")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org"])
def test_an_address_of_others_needs_a_key(host):
    settings = Settings(folders={"a": "a"}, stores={}, host=host)
    with pytest.raises(BadInput, match="--key-file"):
        check_address(settings)
    check_address(Settings(folders={"a": "a"}, stores={}, host=host, key_file="keys"))
    for own in ("127.0.0.1", "::1", "localhost"):
        check_address(Settings(folders={"a": "a"}, stores={}, host=own))


def test_hosts_and_sites(index, client_of):
    """A page of another site, and a name that was made to lead here, get nothing (DNS rebinding)."""
    client = client_of(index.path, hosts=("our.example",), origins=("https://friend.example",))
    for host, status in (("localhost:8000", 200), ("our.example", 200), ("evil.example", 403), ("", 403)):
        assert client.get("/health", headers={"Host": host}).status_code == status, host
    for origin, status in (
        ("http://localhost:8000", 200),
        ("https://friend.example", 200),
        ("https://evil.example", 403),
        ("null", 403),
    ):
        assert client.post(SEARCH, json={"text": "red"}, headers={"Origin": origin}).status_code == status, origin
    shared = client.get("/v1/models", headers={"Origin": "https://friend.example"})
    assert shared.headers["access-control-allow-origin"] == "https://friend.example"


def test_no_site_is_let_in_by_default(client):
    done = client.get("/v1/models", headers={"Origin": "http://localhost:8000"})
    assert "access-control-allow-origin" not in done.headers
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert client.options(SEARCH, headers=asked).status_code == 403
    assert "script-src 'self'" in done.headers["content-security-policy"]
    assert done.headers["x-content-type-options"] == "nosniff"


def test_sizes(index, client_of):
    client = client_of(index.path, max_body=1000)
    assert client.post(SEARCH, json={"text": "a" * 2000}).status_code == 413

    def pieces():
        for _ in range(20):
            yield b" " * 100

    assert client.post(SEARCH, content=pieces()).status_code == 413, "without a length"
    packed = client.post(SEARCH, content=b"x", headers={"Content-Encoding": "gzip"})
    assert packed.status_code == 415


def call(guard, receive, headers=()):
    """Send one request to a guard, and return the status of its answer."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"localhost"), *headers]}
    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"] if sent else None


async def reading(scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_slow_and_many(index):
    settings = Settings(folders={}, stores={}, body_seconds=0.05, max_held=10, max_waiting=1)

    async def never():
        await asyncio.sleep(10)

    async def large():
        return {"type": "http.request", "body": b"x" * 11, "more_body": False}

    async def gone():
        return {"type": "http.disconnect"}

    async def small():
        return {"type": "http.request", "body": b"x", "more_body": False}

    guard = Guard(reading, settings, Metrics())
    assert call(guard, never) == 408
    assert call(guard, large) == 429, "the memory of all bodies"
    assert call(guard, gone) is None
    assert call(guard, small) == 200 and (guard.held, guard.inside) == (0, 0)
    guard.inside = 1
    assert call(guard, small) == 429
    assert call(guard, small, [(b"content-length", b"-1")]) == 413


def test_a_defect_of_ours_says_nothing_to_the_caller(index, client_of, monkeypatch, caplog):
    def broken(*_, **__):
        raise ZeroDivisionError("a secret of the inside")

    monkeypatch.setattr(searching, "ask", broken)
    client = client_of(index.path, raises=False)
    with caplog.at_level(logging.ERROR):
        done = client.post(SEARCH, json={"text": "red"})
    assert done.status_code == 500 and "secret" not in done.text and "Traceback" not in done.text
    number = done.json()["error"]["message"].split()[-1]
    assert number in caplog.text and "a secret of the inside" in caplog.text


def test_names_of_folders(tmp_path):
    (tmp_path / "demo" / "index").mkdir(parents=True)
    assert named_folders([str(tmp_path / "demo" / "index"), "b=elsewhere"]) == {
        "demo": str(tmp_path / "demo" / "index"),
        "b": "elsewhere",
    }
    for wrong in (["a=b", "a=c"], ["default=b"], ["a/b=c"], []):
        with pytest.raises(BadInput):
            named_folders(wrong)


def test_settings_reach_a_worker():
    settings = Settings(folders={"a": "b"}, stores={"a": "s"}, hosts=("h",), origins=("o",), key_file="k")
    assert Settings.from_json(settings.to_json()) == settings
