"""The kit: what runs the service, kept by the template and renewed by `copier update`.

You import from a few modules and may read the rest:

- `app.kit.db`: models, column types, sessions, pages, the `Database`;
- `app.kit.web`: `Router`, session dependencies, field types, errors;
- `app.kit.application`, `app.kit.jobs`, `app.kit.settings`, `app.kit.command`: what `app/main.py`
  and its neighbours use.

The kit imports nothing of yours. Everything else below it may change with any update.
"""
