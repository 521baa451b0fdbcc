"""Who may call, how much they may send, and how many at once: looked at before anything of a request is read."""

import asyncio
import hashlib
import hmac
import logging
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from isthmus.core.errors import BadInput, NotFound
from isthmus.web.errors import refusal
from isthmus.web.metrics import Metrics
from isthmus.web.settings import Settings

__all__ = ["Guard", "Keys"]

log = logging.getLogger("isthmus.web")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

OPEN = frozenset({"/", "/health", "/ready"})
"""What needs no key: the page, which holds no data, and whether the server lives."""
PAGE = "/page/"
SHORTEST = 16
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"x-frame-options": b"DENY",
    b"cross-origin-resource-policy": b"same-origin",
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    b"img-src 'self' data: blob:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


class Keys:
    """The keys that open a server, one a line of a file; lines that begin with # say whose they are.

    Only digests are kept. Raises `NotFound` for a missing file, `BadInput` for one without keys, or with a key of fewer
    than 16 characters.
    """

    def __init__(self, file: str | Path) -> None:
        try:
            lines = Path(file).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise NotFound(f"--key-file {file}: there is no such file") from None
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"--key-file {file} cannot be read ({error})") from None
        keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not keys or min(map(len, keys)) < SHORTEST:
            raise BadInput(f"--key-file {file}: one key a line is expected, each of at least {SHORTEST} characters")
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    def open(self, authorization: bytes) -> bool:
        """Say whether a header opens; it takes as long whichever key it is, and however much of it is right."""
        scheme, _, key = authorization.partition(b" ")
        digest = hashlib.sha256(key.strip()).digest()
        right = False
        for each in self._digests:
            right |= hmac.compare_digest(digest, each)
        return right and scheme.lower() == b"bearer"


class Guard:
    """ASGI middleware that refuses: the wrong host or site, a missing key, too much at once, too long or too slow."""

    def __init__(self, app: Any, settings: Settings, metrics: Metrics, keys: Keys | None = None) -> None:
        self.app, self.settings, self.metrics, self.keys = app, settings, metrics, keys
        self.inside = self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        refused = self._refused(scope)
        if refused is None and self.inside >= self.settings.max_waiting:
            refused = refusal(429, "too many requests at once: try again in a second", headers={"Retry-After": "1"})
        with self.metrics.timed(scope) as status:

            async def dressed(message: MutableMapping[str, Any]) -> None:
                if message["type"] == "http.response.start":
                    status.append(message["status"])
                    given = {name.lower() for name, _ in message["headers"]}
                    message["headers"] = [
                        *message["headers"],
                        *((name, value) for name, value in HEADERS.items() if name not in given),
                    ]
                await send(message)

            if refused is not None:
                await refused(scope, receive, dressed)
                return
            self.inside += 1
            try:
                await self._with_body(scope, receive, dressed)
            except Exception:  # a defect of ours: the caller gets a number that is in the log beside the traceback
                number = uuid.uuid4().hex[:12]
                log.exception("request %s failed: %s %s", number, scope["method"], scope["path"])
                if not status:
                    await refusal(500, f"the server failed; its log says why under {number}")(scope, receive, dressed)
            finally:
                self.inside -= 1

    def _refused(self, scope: Scope) -> Any:
        """Return the refusal of a request by its head, or None."""
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, value)
        host = headers.get(b"host", b"").decode("latin-1")
        if self.settings.loopback and not self._our_name(host):
            # a name that leads here may be somebody else's, so that their page could read the answers
            return refusal(403, f"this server is not called {host[:100]!r}: name it with --allow-host")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and origin not in self.settings.origins and urlsplit(origin).netloc != host:
            return refusal(403, "pages of other sites may not call this server: name them with --allow-origin")
        if headers.get(b"content-encoding", b"identity") != b"identity":
            return refusal(415, "a body that is packed is not read: send it as it is")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > self.settings.max_body:
            return self._too_long()
        path, preflight = scope["path"], scope["method"] == "OPTIONS"
        free = path in OPEN or path.startswith(PAGE) or preflight
        if self.keys is not None and not free and not self.keys.open(headers.get(b"authorization", b"")):
            return refusal(401, "a key is needed: Authorization: Bearer KEY", headers={"WWW-Authenticate": "Bearer"})
        return None

    def _our_name(self, host: str) -> bool:
        name = urlsplit(f"//{host}").hostname or ""
        return name in {"localhost", "127.0.0.1", "::1", self.settings.host, *self.settings.hosts}

    def _too_long(self) -> Any:
        return refusal(413, f"a request has at most {self.settings.max_body:,} bytes")

    async def _with_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body within its time, its length and the memory of all bodies, and pass it on in one piece."""
        chunks, length = [], 0
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    chunks.append(message.get("body", b""))
                    length += len(chunks[-1])
                    self.held += len(chunks[-1])
                    if length > self.settings.max_body:
                        await self._too_long()(scope, receive, send)
                        return
                    if self.held > self.settings.max_held:
                        again = refusal(429, "too much at once: try again in a second", headers={"Retry-After": "1"})
                        await again(scope, receive, send)
                        return
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            await refusal(408, "the request took too long to arrive")(scope, receive, send)
        else:
            await self._passed_on(scope, receive, send, b"".join(chunks))
        finally:
            self.held -= length

    async def _passed_on(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        whole = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> MutableMapping[str, Any]:
            return whole.pop() if whole else await receive()

        await self.app(scope, again, send)
