import pytest

from isthmus.index.backends import BACKENDS
from tests import require


@pytest.fixture(params=sorted(BACKENDS))
def backend(request):
    """Every backend by name; its package has to be there in a full run."""
    found = BACKENDS[request.param]
    if found is not None:
        require.module(found.package, found.extra)
    return request.param
