"""The command line: `python -m app` serves, `python -m app --help` lists the rest."""

import argparse
import signal
import socket
import sys
import textwrap

import uvicorn
from pydantic.fields import FieldInfo
from sqlalchemy import URL

from app.kit import parts
from app.kit.db.startup import check_settings
from app.kit.observability.logs import logging_config
from app.kit.settings import KitSettings, SettingsError


def main(application: str, settings_class: type[KitSettings]) -> None:
    """Run the command that the command line names.

    Args:
        application: The import path of the application, `module:attribute`.
        settings_class: The settings of the service.
    """
    parser = argparse.ArgumentParser(prog="python -m app")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="serve until SIGTERM or Ctrl-C (the default)")
    for name, (description, _) in parts.COMMANDS.items():
        commands.add_parser(name, help=description)
    commands.add_parser("settings", help="print all settings with their defaults, as an .env file")
    command = parser.parse_args().command
    if command == "settings":
        print(describe_settings(settings_class))
        return
    try:
        settings = settings_class.load()
        # Checked here, because the server would restart a worker that cannot start endlessly.
        check_settings(settings)
    except SettingsError as error:
        sys.exit(str(error))
    if command in parts.COMMANDS:
        parts.COMMANDS[command][1](settings)
        return
    serve(application, settings)


def serve(application: str, settings: KitSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    try:
        # For a clear message: the server reports only the error number.
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        sys.exit(
            f"Cannot listen on {settings.host}, port {settings.port}: {error.strerror}. Stop "
            "the process that uses the port, or set HOST and PORT to another address."
        )
    if settings.workers > 1:
        parts.prepare_workers()
    # After a graceful shutdown, the server raises the signal again.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    uvicorn.run(
        application,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=logging_config(settings),
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_timeout,
        # With the default of 5 s, a slow machine would kill and restart its workers endlessly
        # while they start.
        timeout_worker_healthcheck=60,
    )


def describe_settings(settings_class: type[KitSettings]) -> str:
    """All settings with descriptions and defaults, commented out, in the format of an .env file.

    Current values are not shown, because passwords may be among them.
    """
    return "\n".join(_describe(name, field) for name, field in settings_class.model_fields.items())


def _describe(name: str, field: FieldInfo) -> str:
    description = field.description or ""
    if field.is_required():
        description = f"{description} (required)".lstrip()
    lines = [f"# {line}\n" for line in textwrap.wrap(description, 98)]
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return f"{''.join(lines)}# {name.upper()}={_format(default)}\n"


def _format(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case URL():
            return value.render_as_string(hide_password=True)
        case tuple() | list() | set() | frozenset():
            return ",".join(map(_format, value))
    return str(value)
