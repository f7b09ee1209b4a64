"""Conventions for the owner's models, routes and migrations.

A rule is a function that returns what breaks it, by name. Its docstring is the message of the
failure: the reason and the cure.
"""

import inspect
import pkgutil
from collections.abc import Awaitable, Callable, Iterable
from importlib import import_module
from typing import Any

import pytest

Rule = Callable[..., Iterable[str] | Awaitable[Iterable[str]]]

# Which modules there are depends on the answers.
_MODULES = sorted(module.name for module in pkgutil.iter_modules(__path__))
RULES: list[Rule] = [
    rule for name in _MODULES for rule in import_module(f"{__name__}.{name}").RULES
]


async def check(rule: Rule, request: pytest.FixtureRequest, exceptions: set[str]) -> None:
    """Fail if anything but the exceptions breaks a rule, whose parameters are names of fixtures."""
    names = inspect.signature(rule).parameters
    arguments: dict[str, Any] = {name: request.getfixturevalue(name) for name in names}
    found = rule(**arguments)
    breaches = set(await found if inspect.isawaitable(found) else found) - exceptions
    if breaches:
        reason = inspect.cleandoc(rule.__doc__ or "")
        pytest.fail("\n  ".join([f"{reason}\n", *sorted(breaches)]), pytrace=False)
