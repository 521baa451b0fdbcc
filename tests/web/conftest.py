import pytest

from isthmus import encoders
from tests import require

from . import served


@pytest.fixture(autouse=True)
def known_encoders(monkeypatch):
    for package in ("fastapi", "uvicorn", "prometheus_client", "multipart"):
        require.module(package.replace("multipart", "python_multipart"), "serve")
    monkeypatch.setattr(encoders, "load", served.load)


@pytest.fixture
def index(tmp_path):
    return served.build(tmp_path)


@pytest.fixture
def client_of():
    """Open a client of a server with some settings; it is ready when it is returned."""
    from fastapi.testclient import TestClient

    from isthmus.web.app import create_app
    from isthmus.web.settings import Settings

    opened = []

    def make(folder, *, raises=True, **settings):
        app = create_app(Settings(folders={"colours": str(folder)}, stores={}, **settings))
        client = TestClient(app, base_url="http://localhost:8000", raise_server_exceptions=raises)
        opened.append(client)
        client.__enter__()
        while app.state.served.states and not app.state.served.ready:
            client.get("/health")
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(index, client_of):
    return client_of(index.path)
