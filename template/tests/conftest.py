"""Fixtures of the service's tests. Those of the kit are in `tests/kit/fixtures.py`."""

pytest_plugins = ["tests.kit.fixtures"]
