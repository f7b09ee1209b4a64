"""The command line: `python -m app --help`."""

from app.kit.command import main
from app.settings import Settings

if __name__ == "__main__":
    main("app.main:app", Settings)
