"""A project that changes answers becomes what a fresh copy with the new answers is."""

import pytest
from conftest import Render
from projects import answers_of, copy_of, revisions_of, update, without_revisions
from switches import random_switches, single_switches, valid

SWITCHES = single_switches() | random_switches()


@pytest.mark.parametrize("switch", SWITCHES)
def test_switched_project_equals_a_fresh_copy(switch: str, fresh: Render) -> None:
    before, after = SWITCHES[switch]
    project = copy_of(fresh(before))

    update(project, after)

    assert without_revisions(project) == without_revisions(fresh(after))
    # It also remembers answers that do not apply for now.
    assert valid(answers_of(project)) == valid(answers_of(fresh(after)))
    assert revisions_of(project) == revisions_of(fresh(before))
