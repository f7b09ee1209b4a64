"""The password works, or fails without being shown: in logs, tracebacks and answers."""

import subprocess
from typing import Any
from urllib.parse import quote

import pytest
from services import environment

from faults.ports import free_port
from faults.servers import PASSWORD, migrate
from faults.world import World

SERVERS = pytest.mark.parametrize("kind", ["postgresql", "mysql"], indirect=True)

SECRET = "hunter2-%41-secret"

WRONG_URLS = {
    "wrong password": "{scheme}://service:{secret}@127.0.0.1:{port}/{name}",
    "unknown user": "{scheme}://nobody:{secret}@127.0.0.1:{port}/{name}",
    "unknown database": "{scheme}://service:{secret}@127.0.0.1:{port}/absent",
    "unknown host": "{scheme}://service:{secret}@no-such-host.invalid:{port}/{name}",
}
MALFORMED_URLS = {
    "no host": "{scheme}:/service:{secret}",
    "port": "{scheme}://service:{secret}@127.0.0.1:port/{name}",
    "brackets": "{scheme}://service:{secret}@[127.0.0.1/{name}",
    "no scheme": "service:{secret}@127.0.0.1/{name}",
    "another driver": "oracle://service:{secret}@127.0.0.1/{name}",
    "nonsense": "{secret}",
}


def shows(text: str) -> bool:
    """Whether a text shows the secret, plain or encoded, or a part of it."""
    return any(part in text for part in (SECRET, quote(SECRET, safe=""), "hunter2", PASSWORD))


def url(world: World, pattern: str) -> str:
    """A URL with the secret."""
    return pattern.format(
        scheme=world.database.kind,
        secret=quote(SECRET, safe=""),
        port=world.database.port,
        name=world.database.name,
    )


@pytest.mark.long
@SERVERS
@pytest.mark.parametrize("wrong", WRONG_URLS)
def test_wrong_url_shows_no_secret(world: World, wrong: str) -> None:
    """It starts, is not ready, answers 503, and migrations say a sentence."""
    wrong_url = url(world, WRONG_URLS[wrong])
    world.start(ready=False, probe=False, DATABASE_URL=wrong_url, DATABASE_ECHO="true")
    texts = []
    for answer in (
        world.ask("GET", "/health/ready"),
        world.ask("GET", "/users"),
        world.ask("POST", "/items", {"name": "x", "price": "1.00"}),
    ):
        world.verdict.expect(answer.status == 503, f"{answer.operation}: {answer.status}")
        texts.append(answer.text)
    world.service.terminate()
    world.service.wait_until_gone(10)
    texts.append(world.service.output)
    result = migrate(world.python, world.project, wrong_url)
    texts.append(result.stdout)
    lines = result.stdout.strip().splitlines()
    world.verdict.expect(result.returncode == 1, f"migrations ended with {result.returncode}")
    world.verdict.expect(len(lines) == 1, f"migrations say {len(lines)} lines")
    world.verdict.expect(not any(map(shows, texts)), "the secret is shown")
    world.verdict.expect("Traceback" not in world.service.output, "the log has a traceback")


@pytest.mark.long
@SERVERS
def test_malformed_url_shows_no_secret(world: World) -> None:
    """Service and migrations end with a sentence."""
    for name, pattern in MALFORMED_URLS.items():
        for command in ("serve", "migrate"):
            # What is a URL by some reading of it leads nowhere: then the service starts, and waits.
            starts = (name, command) == ("brackets", "serve")
            seconds = 5 if starts else 30
            result = run(
                world, "-m", "app", command, seconds=seconds, DATABASE_URL=url(world, pattern)
            )
            output = result.stdout
            code = result.returncode
            world.verdict.expect(code == 1 or starts, f"{name}: {command} ended with {code}")
            world.verdict.expect("Traceback" not in output, f"{name}: {command} has a traceback")
            world.verdict.expect(not shows(output), f"{name}: {command} shows the secret")
    world.verdict.note(f"{2 * len(MALFORMED_URLS)} starts")


@SERVERS
def test_password_with_every_special_character_works(world: World) -> None:
    world.start(DATABASE_ECHO="true")
    world.answers_well(world.ask("POST", "/items", {"name": "x", "price": "1.00"}), 201)
    port = world.database.port
    result = migrate(world.python, world.project, world.database.url(port), DATABASE_ECHO="true")
    world.verdict.expect(result.returncode == 0, result.stdout[-200:])
    world.verdict.expect(PASSWORD not in result.stdout, "migrations show the password")


SHOW_SETTINGS = """
import pickle, traceback
from pydantic import ValidationError
from app.settings import Settings
settings = Settings.load()
print(repr(settings), str(settings), [settings])
try:
    settings.database_url = 1
except Exception:
    traceback.print_exc()
try:
    Settings(_env_file=None, database_url=settings.database_url.render_as_string(False), port=-1)
except ValidationError as error:
    print(error, error.errors(include_input=False, include_context=False))
    traceback.print_exc()
from app.main import create_app
app = create_app(settings)
print(repr(app), repr(app.state._state), repr(app.state.database.writer), vars(app.state.database))
"""


@SERVERS
def test_settings_show_no_secret(world: World) -> None:
    result = run(world, "-c", SHOW_SETTINGS, DATABASE_URL=url(world, WRONG_URLS["wrong password"]))
    world.verdict.expect(result.returncode == 0, result.stdout[-300:])
    world.verdict.expect(not shows(result.stdout), "the secret is shown")
    world.verdict.note("repr, str, validation errors, tracebacks, engines")


def test_values_show_in_no_log(world: World) -> None:
    """A conflict, a value too large, a lost connection: what the client sent is not logged."""
    world.start(DATABASE_ECHO="true")
    body = {"username": SECRET, "email": "secret@example.org"}
    world.answers_well(world.ask("POST", "/users", body), 201)
    again = world.ask("POST", "/users", body)
    world.answers_well(again, 409)
    world.verdict.expect(SECRET not in again.text, "the answer shows the value")
    wrong = world.ask("POST", "/users", {**body, "balance": SECRET})
    world.answers_well(wrong, 422)
    world.verdict.expect(SECRET not in wrong.text, "the answer shows the input")
    world.proxy.refuse()
    world.ask("POST", "/users", {"username": SECRET + "2", "email": "s2@example.org"})
    world.proxy.heal()
    world.verdict.expect(SECRET not in world.service.output, "the log shows the value")


def run(
    world: World, *arguments: str, seconds: int = 30, **settings: Any
) -> subprocess.CompletedProcess[str]:
    """Run Python with the service's settings to its end."""
    return subprocess.run(
        ["timeout", str(seconds), world.python, *arguments],
        cwd=world.directory,
        env=environment(
            PYTHONPATH=str(world.project),
            ENVIRONMENT="prod",
            DATABASE_PGBOUNCER="false",
            PORT=str(free_port()),
            **settings,
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
