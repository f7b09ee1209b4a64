"""The pytest plugin: number of processes, grouping of tests, fixtures."""

import os

import pytest

# Fixtures that are started once for a run, so that their tests must run in one process.
SHARED = ("server_runs", "server_url")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes for the whole suite; one for a part, which ends before two have started."""
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    options = config.option
    part = options.ignore or options.ignore_glob or options.keyword or getattr(options, "lf", False)
    return min(2, os.cpu_count() or 1) if whole and not part else 0


def pytest_configure(config: pytest.Config) -> None:
    """Load the fixtures, and with them the service, except in the controller of xdist."""
    if hasattr(config, "workerinput") or config.option.dist == "no":
        config.pluginmanager.import_plugin("tests.kit.fixtures")
        # Most of these warnings mean wrong results. (Here, because it imports SQLAlchemy.)
        config.addinivalue_line("filterwarnings", "error::sqlalchemy.exc.SAWarning")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Group the tests that use a shared fixture."""
    for name in SHARED:
        if name in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group(name))
