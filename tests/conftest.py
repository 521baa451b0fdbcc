import os

import pytest

# Tensors of tests are small: a second thread brings nothing, and on a busy machine threads that wait for each other
# make the suite fifteen times slower. Read when numpy and torch are first imported, which is after this file.
os.environ.setdefault("OMP_NUM_THREADS", "1")
STRICT = os.environ.get("ISTHMUS_REQUIRE") == "all"


@pytest.fixture(scope="session")
def users_cache():
    """The user's own cache folder, for the few tests that need the features of a whole data set."""
    from isthmus.core.run import cache_dir

    return cache_dir()


@pytest.fixture(scope="session", autouse=True)
def cache(users_cache, tmp_path_factory):
    """A cache folder of this session, so that tests neither see nor change the user's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISTHMUS_CACHE", str(folder))
        yield folder


def _refuse(report):
    """Turn a skip into a failure where nothing may be left out."""
    if STRICT and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"{report.nodeid}: a skip is a failure with ISTHMUS_REQUIRE=all: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    return _refuse((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return _refuse((yield))
