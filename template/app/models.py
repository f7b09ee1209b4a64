"""Every module with models, so that `Base.metadata` knows all tables. Add yours here."""

import app.db.idempotency
import app.starter.models
