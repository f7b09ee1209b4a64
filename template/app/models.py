"""Every module with models, so that the metadata knows all tables. Add yours here."""

import app.example.models
from app.kit.db import Base

METADATA = Base.metadata
