"""A project that changes answers becomes what a fresh copy with the new answers is.

The usual run tries random changes here, and one of each answer in `test_living_updates.py`.
"""

import pytest
from conftest import Render
from projects import answers_of, copy_of, revisions_of, update, without_revisions
from switches import random_switches, single_switches, valid

RANDOM = random_switches()
SWITCHES = single_switches() | RANDOM


@pytest.mark.parametrize(
    "switch",
    [pytest.param(s, marks=() if s in RANDOM else pytest.mark.long) for s in SWITCHES],
)
def test_switched_project_equals_a_fresh_copy(switch: str, fresh: Render) -> None:
    before, after = SWITCHES[switch]
    project = copy_of(fresh(before))

    update(project, after)

    assert without_revisions(project) == without_revisions(fresh(after))
    # It also remembers answers that do not apply for now.
    assert valid(answers_of(project)) == valid(answers_of(fresh(after)))
    assert revisions_of(project) == revisions_of(fresh(before))
