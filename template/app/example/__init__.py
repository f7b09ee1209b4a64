"""What the service started with. Once it has features of its own, `app/api.py` and `app/models.py`
need not name this any more."""
