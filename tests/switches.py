"""Changes of answers that updates are tried with."""

import os
import random
from itertools import permutations

from questionnaire import ASKED, SAMPLES, Answers, combinations, values

Switch = tuple[Answers, Answers]

# All other answers are, once, the defaults, and once whatever brings most files.
PLAIN: Answers = {}
RICH: Answers = {
    "database": "postgresql+asyncpg",
    "pool_size": 7,
    "max_overflow": 3,
    "pool_timeout": 9,
    "pool_recycle": 600,
    **{name: True for name, question in ASKED.items() if question["type"] == "bool"},
}
SURROUNDINGS = {"plain": PLAIN, "rich": RICH}
# What only one other database can do, too.
REPLICATED: Answers = {"database": "mysql+aiomysql"}
# Every run tries others; to repeat one, set the seed that it printed.
SEED = os.environ["UPDATES_SEED"]
RANDOM_SWITCHES = 10


def valid(answers: Answers) -> Answers:
    """The answers without those to questions that are not asked."""
    return next(combinations({name: [answer] for name, answer in answers.items()}))


def switches_of(name: str, others: Answers) -> dict[str, Switch]:
    """From each value of a question to each other, by a title; none, if it is not asked."""
    tried = SAMPLES[name][:2] if name in SAMPLES else values(name)
    found = {}
    for pair in permutations(tried, 2):
        before, after = (valid(others | {name: answer}) for answer in pair)
        if name in before and name in after:
            found[f"{name}-{pair[0]}-{pair[1]}"] = (before, after)
    return found


def single_switches() -> dict[str, Switch]:
    """The switches of all questions, in both surroundings, and of the replica in one more."""
    tried = [(s, others, name) for s, others in SURROUNDINGS.items() for name in ASKED]
    tried.append(("mysql", REPLICATED, "read_replica"))
    return {
        f"{surroundings}-{title}": switch
        for surroundings, others, name in tried
        for title, switch in switches_of(name, others).items()
    }


def telling_switches() -> set[str]:
    """The titles of switches that hold each question's once: plain, where it is asked there."""
    return {
        f"{surroundings}-{title}"
        for name in ASKED
        for surroundings, others in SURROUNDINGS.items()
        if others is PLAIN or not switches_of(name, PLAIN)
        for title in switches_of(name, others)
    }


def random_switches() -> dict[str, Switch]:
    """From any answers to any others."""
    chance = random.Random(SEED)
    return {f"seed-{SEED}-{number}": _random_switch(chance) for number in range(RANDOM_SWITCHES)}


def _random_switch(chance: random.Random) -> Switch:
    before, after = (
        valid({name: chance.choice(SAMPLES.get(name) or values(name)) for name in ASKED})
        for _ in range(2)
    )
    return before, after
