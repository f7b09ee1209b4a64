"""The command line on the kit's application, as `app/__main__.py` has it on the owner's."""

from app.kit.command import main
from app.kit.settings import KitSettings

if __name__ == "__main__":
    main("tests.kit.served:app", KitSettings)
