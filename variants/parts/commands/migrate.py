"""The commands of `python -m app` besides `serve`: name, description and function."""

from collections.abc import Callable

from app.kit.migrations import upgrade
from app.kit.settings import KitSettings

COMMANDS: dict[str, tuple[str, Callable[[KitSettings], None]]] = {
    "migrate": ("upgrade the schema to the newest revision", upgrade.main),
}
