"""What a server does with everything that is wrong: it says so, in a 4xx, soon, and goes on."""

import contextlib
import http.client
import json
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from isthmus.index.index import Index

from .malformed import AT, cases
from .process import asked, ended, free_port, started

SECONDS = 10
MEGABYTES = 400
"""Memory that the server may take beyond what it had at the beginning: the largest picture is 150 MB in pixels."""


def answered(port, case):
    """Send a request byte for byte, and return the status and the text of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    with contextlib.closing(connection):
        connection.putrequest(case.method, case.path, skip_host="Host" in case.headers, skip_accept_encoding=True)
        for name, value in {**case.headers, "Content-Length": str(len(case.body))}.items():
            connection.putheader(name, value)
        connection.endheaders()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused by its head, before all was sent
            connection.send(case.body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def peak(process):
    """Return the most memory that a process has had, in MB."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    return int(found[1]) / 1000


@pytest.mark.usefixtures("socket_enabled")
def test_everything_that_is_wrong(index, subtests):
    port = free_port()
    server = started(index.path, port)
    everything = cases()
    assert len(everything) >= 200
    try:
        before = peak(server)
        for case in everything:
            with subtests.test(case.name):
                start = time.monotonic()
                status, text = answered(port, case)
                assert 400 <= status < 500, (status, text[:300])
                assert time.monotonic() - start < SECONDS
                assert not re.search(r"Traceback|File \"|\.py\b.*line \d|site-packages", text), text[:300]
                assert set(json.loads(text)["error"]) == {"message", "type", "param", "code"}
        assert server.poll() is None
        assert peak(server) - before < MEGABYTES
        assert asked(port, f"{AT}/search", {"text": "red", "k": 1})[1]["hits"][0]["key"] == "red"
        assert len(Index.open(index.path)) == 12, "nothing was written"
        assert not (index.path / "uploads").exists()
    finally:
        ended(server)


@pytest.mark.usefixtures("socket_enabled")
def test_what_is_no_http(index):
    port = free_port()
    server = started(index.path, port)
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    try:
        for sent in (
            b"nonsense\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            head + b"Content-Length: -5\r\n\r\n",
            head + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nabcde",
            head + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
            head + b"X: " + b"a" * 200_000 + b"\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ):
            answer = b""
            with (
                contextlib.suppress(BrokenPipeError, ConnectionResetError),
                socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as raw,
            ):
                raw.sendall(sent)
                raw.shutdown(socket.SHUT_WR)
                answer = raw.recv(4096)
            assert not answer or re.match(rb"HTTP/1.1 4\d\d", answer), (sent[:60], answer)
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(head + b"Content-Length: 100\r\n\r\nhalf")  # and goes away
        assert asked(port, "/health")[0] == 200
    finally:
        ended(server, signal.SIGKILL)
