"""The short form of `make chaos`."""

import pytest

from .chaos import trial


@pytest.mark.usefixtures("socket_enabled")
def test_nothing_that_was_acknowledged_is_lost(tmp_path):
    report = trial(tmp_path, rounds=4, seed=1)
    assert report["lost"] == 0 and report["acknowledged"] > 0, report
