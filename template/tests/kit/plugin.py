"""How the tests run: in how many processes, in which order, and with which fixtures."""

import os

import pytest

# What is started once for a run, and so used by tests of one process.
SHARED = ("server_runs", "server_url")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes for the whole suite; one for a part, which it ends before two have started."""
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    options = config.option
    part = options.ignore or options.ignore_glob or options.keyword or getattr(options, "lf", False)
    return min(2, os.cpu_count() or 1) if whole and not part else 0


def pytest_configure(config: pytest.Config) -> None:
    """Load the fixtures, and with them the service, except where others run the tests."""
    if hasattr(config, "workerinput") or config.option.dist == "no":
        config.pluginmanager.import_plugin("tests.kit.fixtures")
        # Most of these tell of wrong results. (Here, because it imports SQLAlchemy.)
        config.addinivalue_line("filterwarnings", "error::sqlalchemy.exc.SAWarning")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep the tests together that share what is started once."""
    for name in SHARED:
        if name in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group(name))
