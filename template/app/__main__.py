"""The production command: `python -m app`, with host, port and workers of the settings."""

import signal
import socket
import sys

import uvicorn

from app.settings import SettingsError, get_settings


def main() -> None:
    """Serve until a signal ends it."""
    try:
        settings = get_settings()
    except SettingsError as error:
        sys.exit(str(error))
    try:
        # Only to say it well: the server would report a number and a traceback-like line.
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        sys.exit(
            f"Cannot listen on {settings.host}, port {settings.port}: {error.strerror}. Stop what "
            "uses the port, or set HOST and PORT to another address."
        )
    # Having ended in good order, the server raises the signal again that it ended at.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    uvicorn.run(
        "app.main:app",
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        server_header=False,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
