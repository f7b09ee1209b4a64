"""Changes of answers that updates are tried with."""

import os
import random
from itertools import pairwise, permutations

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
RANDOM_SWITCHES = 6


def valid(answers: Answers) -> Answers:
    """The answers without those to questions that are not asked."""
    return next(combinations({name: [answer] for name, answer in answers.items()}))


def switches_of(name: str, others: Answers) -> dict[str, Switch]:
    """From each value of a question to each other, by a title; none, if it is not asked."""
    tried = list(dict.fromkeys(SAMPLES[name]))[:2] if name in SAMPLES else values(name)
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
    """The titles of switches that hold each value of a question: plain, where it is asked there.

    Each value follows another one once, so that all files that depend on it come, and go.
    """
    found = set()
    for name in ASKED:
        surroundings = "plain" if switches_of(name, PLAIN) else "rich"
        # No file depends on an open answer.
        tried = SAMPLES[name][:2] if is_open(name) else [*values(name), values(name)[0]]
        asked = switches_of(name, SURROUNDINGS[surroundings])
        titles = {f"{name}-{old}-{new}" for old, new in pairwise(tried)}
        found |= {f"{surroundings}-{title}" for title in titles & asked.keys()}
    return found


def is_open(name: str) -> bool:
    """Whether a question has neither choices nor yes and no."""
    return name in SAMPLES and ASKED[name]["type"] != "bool"


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
