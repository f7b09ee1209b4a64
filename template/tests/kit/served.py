"""The kit's application for servers, which find it as `tests.kit.served:app`."""

from app.kit.application import load_app
from app.kit.settings import KitSettings
from tests.kit.application import create_app

app = load_app(create_app, KitSettings)
