"""A server as a process of its own, which tests may kill."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def started(index, port, *options):
    """Start a server, and return it when it is ready."""
    command = [sys.executable, "-m", "tests.web.run_served", str(index), "--port", str(port), *options]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    # a session of its own: a kill of the group takes workers along
    process = subprocess.Popen(command, cwd=ROOT, env=here, start_new_session=True, stderr=subprocess.PIPE)
    for _ in range(600):
        with contextlib.suppress(OSError):
            if asked(port, "/ready")[0] == 200:
                return process
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.05)
    raise AssertionError("the server was not ready within 30 s")


def asked(port, path, body=None):
    """Return the status and the JSON of an answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=data, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def ended(process, how=signal.SIGTERM):
    """End a server and its workers, and return its code."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, how) if how == signal.SIGKILL else process.send_signal(how)
    code = process.wait(30)
    process.stderr.close()
    return code
