"""Your fixtures. Those of the kit are described in `tests/kit/fixtures.py`."""

pytest_plugins = ["tests.kit.plugin"]

# The environment variables of the service in all tests: for settings of yours without a default,
# and for others that your tests need. Those of the shell and of `.env` do not reach the tests.
ENVIRONMENT: dict[str, str] = {}
