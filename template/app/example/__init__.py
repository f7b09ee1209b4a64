"""The example features. Once you have your own, remove them from `app/api.py` and
`app/models.py`."""
