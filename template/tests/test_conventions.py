"""What the kit asks of your models, routes and migrations. A failure says why, and what to do."""

import pytest

from tests.kit.conventions import RULES, Rule, check

# What you exempt from a rule, as its failure names it: {"relationships_raise": {"User.items"}}
EXCEPTIONS: dict[str, set[str]] = {}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
async def test_convention(rule: Rule, request: pytest.FixtureRequest) -> None:
    await check(rule, request, EXCEPTIONS.get(rule.__name__, set()))
