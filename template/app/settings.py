"""The settings of the service: what the kit has, and your own."""

from typing import Annotated

from fastapi import Depends

from app.kit.settings import KitSettings
from app.kit.web import get_settings


class Settings(KitSettings):
    """Add a field here, and set it by an environment variable of its name in capitals."""


SettingsDep = Annotated[Settings, Depends(get_settings)]
"""The settings, in a route: `settings: SettingsDep`."""
