"""Settings: sources, validation and messages."""

import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import Field, SecretStr
from sqlalchemy import make_url

from app.kit.answers import DEFAULT_URL, DRIVER
from app.kit.application import load_app
from app.kit.command import describe_settings, main
from app.kit.settings import (
    BACKEND,
    CommaSeparated,
    DatabaseURL,
    KitSettings,
    SettingsError,
    parse_database_url,
)
from app.settings import Settings
from tests.kit.application import create_app

SECRET = "s3cr3t"


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without settings, in a directory without files."""
    for name in KitSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def error_of(**values: Any) -> str:
    """The message about wrong values."""
    with pytest.raises(SettingsError) as error:
        KitSettings.load(**values)
    assert error.value.__cause__ is None
    assert SECRET not in repr(error.value)
    return str(error.value)


def test_service_starts_with_nothing_set() -> None:
    settings = KitSettings.load()

    assert settings.environment == "dev"
    assert settings.database_url == make_url(DEFAULT_URL)


def test_name_of_a_variable_is_the_name_of_its_field_in_capitals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values: dict[str, tuple[str, object]] = {
        "TITLE": ("Other", "Other"),
        "ENVIRONMENT": ("prod", "prod"),
        "HOST": ("::1", "::1"),
        "PORT": ("9000", 9000),
        "WORKERS": ("3", 3),
        "DATABASE_POOL_SIZE": ("7", 7),
        "DATABASE_MAX_OVERFLOW": ("0", 0),
        "DATABASE_POOL_TIMEOUT": ("2.5", 2.5),
        "DATABASE_POOL_RECYCLE": ("-1", -1),
        "DATABASE_POOL_PRE_PING": ("true", True),
        "DATABASE_ECHO": ("1", True),
        "MAX_BODY_BYTES": ("1024", 1024),
        "LOG_LEVEL": ("warning", "WARNING"),
        "LOG_FORMAT": ("json", "json"),
    }
    for name, (text, _) in values.items():
        monkeypatch.setenv(name, text)

    settings = KitSettings.load()

    read = {name: getattr(settings, name.lower()) for name in values}
    assert read == {name: value for name, (_, value) in values.items()}


def test_process_wins_over_file_of_the_environment_wins_over_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("PORT=1\nWORKERS=1\nDATABASE_POOL_SIZE=1\n")
    (tmp_path / ".env.prod").write_text("PORT=2\nWORKERS=2\n")
    (tmp_path / ".env.test").write_text("PORT=4\nWORKERS=4\n")
    monkeypatch.setenv("ENVIRONMENT", "prod")
    monkeypatch.setenv("PORT", "3")

    settings = KitSettings.load()

    assert (settings.port, settings.workers, settings.database_pool_size) == (3, 2, 1)


def test_file_may_choose_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ENVIRONMENT=prod\nPORT=1\n")
    (tmp_path / ".env.prod").write_text("PORT=2\n")

    settings = KitSettings.load()

    assert (settings.environment, settings.port) == ("prod", 2)


OTHER = "mssql+aioodbc"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DATABASE_POOL_SIZE", 0, "greater than or equal to 1"),
        ("DATABASE_POOL_SIZE", "many", "valid integer"),
        ("DATABASE_MAX_OVERFLOW", -1, "greater than or equal to 0"),
        ("DATABASE_POOL_TIMEOUT", 0, "greater than 0"),
        ("DATABASE_POOL_RECYCLE", -2, "greater than or equal to -1"),
        ("PORT", 65536, "less than or equal to 65535"),
        ("WORKERS", 0, "greater than or equal to 1"),
        ("ENVIRONMENT", "staging", "'dev', 'test' or 'prod'"),
        ("DATABASE_URL", f"{OTHER}://u:{SECRET}@h/d", f"generated for {DRIVER}, not {OTHER}"),
        ("DATABASE_URL", f"{OTHER}://u:{SECRET}@h/d", f"begins with {DRIVER}://"),
        ("DATABASE_URL", f"{BACKEND}+other://u:{SECRET}@h/d", "copier update -d database="),
        ("DATABASE_URL", f"u:{SECRET}@h/d", "Write it like"),
        ("DATABASE_URL", f"{DRIVER}://u:{SECRET}@h:port/d", "percent-encoded"),
        ("DATABASE_URL", "", "Write it like"),
    ],
)
def test_invalid_setting_is_one_line_that_names_it(name: str, value: object, says: str) -> None:
    message = error_of(**{name.lower(): value})

    assert message.startswith(f"{name}: ")
    assert says in message
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("values", "is_json"),
    [
        ({"environment": "dev"}, False),
        ({"environment": "prod"}, True),
        ({"environment": "test", "log_format": "json"}, True),
        ({"environment": "prod", "log_format": "text"}, False),
    ],
)
def test_log_lines_are_json_in_prod_by_default(values: dict[str, Any], is_json: bool) -> None:
    assert KitSettings.load(**values).logs_json is is_json


def test_several_wrong_settings_are_named_together() -> None:
    lines = error_of(port=-1, workers=0).splitlines()

    assert [line.partition(":")[0] for line in lines] == ["PORT", "WORKERS"]


@pytest.mark.parametrize(
    ("values", "says"),
    [({"environment": "prod"}, "ENVIRONMENT=prod"), ({"workers": 2}, "WORKERS=1")],
)
def test_forced_rollback_is_refused_where_it_would_do_harm(
    values: dict[str, Any], says: str
) -> None:
    message = error_of(database_force_rollback=True, **values)

    assert "DATABASE_FORCE_ROLLBACK" in message
    assert says in message


@pytest.mark.parametrize("character", [*string.punctuation, " ", "é", "€", "😀", "a%40b", "+%2B"])
def test_password_survives_its_encoding(character: str) -> None:
    password = f"{character}pass{character}"

    url = parse_database_url(f"{DRIVER}://user:{quote(password, safe='')}@host/database")

    assert url.password == password


def test_password_shows_in_no_text_of_the_settings() -> None:
    url = f"{BACKEND}://user:{SECRET}@host/database?password={SECRET}"
    settings = KitSettings.load(database_url=url)

    assert settings.database_url.password == SECRET
    assert SECRET not in f"{settings} {settings!r}"


class OwnSettings(Settings):
    """Settings as an owner adds them."""

    invoice_days: int = Field(default=30, description="days until an invoice is due")
    api_key: SecretStr = Field(default=SecretStr(SECRET), description="key of the payment provider")
    partner_url: DatabaseURL = Field(default=make_url(f"{BACKEND}://user:{SECRET}@host/database"))
    partners: CommaSeparated = Field(default=("one", "two"), description="partners")
    region: str = Field(description="where invoices are valid")


def test_list_of_settings_has_each_with_its_description_and_default() -> None:
    text = describe_settings(OwnSettings)

    for name, field in KitSettings.model_fields.items():
        assert field.description, f"{name} has no description"
    names = re.findall(r"^# ([A-Z_]+)=", text, re.MULTILINE)
    assert names == [name.upper() for name in OwnSettings.model_fields]
    assert "# days until an invoice is due\n# INVOICE_DAYS=30\n" in text
    assert "# partners\n# PARTNERS=one,two\n" in text
    assert "# where invoices are valid (required)\n# REGION=\n" in text
    assert SECRET not in text


def test_list_of_settings_is_an_env_file_of_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = re.findall(r"^# ([A-Z_]+=.+)$", describe_settings(Settings), re.MULTILINE)
    (tmp_path / ".env").write_text("\n".join(lines))

    assert len(lines) > 20
    assert Settings.load() == Settings(_env_file=None)


def test_list_of_settings_shows_none_that_is_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{DRIVER}://user:{SECRET}@host/database")
    monkeypatch.setattr("sys.argv", ["app", "settings"])

    main("tests.kit.served:app", KitSettings)

    output = capsys.readouterr().out
    assert "# PORT=8000\n" in output
    assert SECRET not in output


def serve_as_a_command() -> None:
    main("tests.kit.served:app", KitSettings)


def load_as_a_server_does() -> None:
    load_app(create_app, KitSettings)


@pytest.mark.parametrize("start", [serve_as_a_command, load_as_a_server_does])
def test_every_entry_point_exits_with_that_line_only(
    start: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{OTHER}://user:{SECRET}@host/database")
    monkeypatch.setattr("sys.argv", ["app"])

    with pytest.raises(SystemExit) as end:
        start()

    # Python prints such a code, and exits with 1.
    assert isinstance(end.value.code, str)
    assert end.value.code.startswith("DATABASE_URL: this service was generated for")
    assert len(end.value.code.splitlines()) == 1
    assert SECRET not in end.value.code
    assert capfd.readouterr() == ("", "")
