"""The questions of copier.yml, and the combinations of answers that the tests try.

Everything is read from copier.yml, so that a new question is tried without a change here. Only a
question with an open answer, a text or a number, needs a few samples in `SAMPLES`.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import ChainableUndefined, FileSystemLoader, Template
from jinja2.sandbox import SandboxedEnvironment

Answers = dict[str, Any]

ROOT = Path(__file__).parents[1]
CONFIG: Answers = yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))
QUESTIONS: dict[str, Answers] = {k: v for k, v in CONFIG.items() if not k.startswith("_")}
# The others are computed: nobody is asked, and nobody may answer.
ASKED = {
    name: question
    for name, question in QUESTIONS.items()
    if question.get("when") is not False and question.get("ask") is not False
}

# Answers that are tried in turn, not each with each: that would only take longer.
SAMPLES: dict[str, list[Any]] = {
    "project_name": ["My Service", "a", "Orders_2 - the 2nd"],
    "project_description": ["Keeps the stock.", "\"Größe\" \\ '''🦊''' # %s"],
    "python_version": QUESTIONS["python_version"]["choices"],
    "tune_pool": [False, True],
    "pool_size": [5, 1, 1000],
    "max_overflow": [0, 10, 1000],
    "pool_timeout": [1, 60],
    "pool_recycle": [-1, 60, 86400],
    "pool_pre_ping": [True, False],
    # It decides about few files, and those depend on no other answer but `read_replica`.
    "metrics": [True, False],
    # It decides about one folder and one section, whatever the others are.
    # (Three, not to keep in step with the one before.)
    "kubernetes": [True, True, False],
}

JINJA = SandboxedEnvironment(
    loader=FileSystemLoader(ROOT),
    undefined=ChainableUndefined,
    extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"],
)
# A copy to a new folder, with no answer on the command line.
COPIER: Answers = {"_copier_conf": {"data": {}, "dst_path": "/new", "answers_file": "answers"}}


def values(name: str) -> list[Any]:
    """All values of a question with choices, or of a yes-or-no question."""
    question = QUESTIONS[name]
    choices = question.get("choices", [False, True])
    if "choices" not in question and question["type"] != "bool":
        raise AssertionError(f"{name} has open answers: add some to SAMPLES in {__file__}")
    return list(choices.values()) if isinstance(choices, dict) else list(choices)


def crossed() -> list[Answers]:
    """Every valid combination of the answers that decide about whole files."""
    return list(combinations({name: values(name) for name in ASKED if name not in SAMPLES}))


def complete() -> list[Answers]:
    """The crossed combinations, each with the next samples of all other answers."""
    return [
        answers
        for number, chosen in enumerate(crossed())
        for answers in combinations(
            {name: [value] for name, value in chosen.items()}
            # The shift after each round keeps in step with no other answer.
            | {name: [s[(number + number // len(s)) % len(s)]] for name, s in SAMPLES.items()}
        )
    ]


def combinations(tried: Mapping[str, Iterable[Any]]) -> Iterator[Answers]:
    """Every valid combination of the values in `tried`; all other questions keep their defaults.

    A question that is not asked, because of an earlier answer, is not in the combination.
    """
    rows: list[tuple[Answers, Answers]] = [({}, COPIER)]
    for name, question in QUESTIONS.items():
        following: list[tuple[Answers, Answers]] = []
        for chosen, known in rows:
            if name in tried and all(
                _parsed(_render(question.get(condition, True), known))
                for condition in ("when", "ask")
            ):
                following += [(chosen | {name: v}, known | {name: v}) for v in tried[name]]
            else:
                default = _render(question["default"], known)
                default = default if question["type"] == "str" else _parsed(default)
                following.append((chosen, known | {name: default}))
        rows = following
    return (chosen for chosen, _ in rows)


def refusal(name: str, value: object) -> str:
    """What the validator of a question says to a value; nothing, if it accepts it."""
    return _render(QUESTIONS[name]["validator"], {name: value}).strip()


def computed(name: str, **known: object) -> str:
    """The value of a question that nobody is asked."""
    return _render(QUESTIONS[name]["default"], known)


def _render(value: object, known: Answers) -> str:
    return _template(str(value)).render(known)


@cache
def _template(source: str) -> Template:
    return JINJA.from_string(source)


@cache
def _parsed(text: str) -> Any:
    """The value of a text in YAML. Nobody changes it: it is shared."""
    return yaml.safe_load(text)
