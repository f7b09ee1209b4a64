"""The kit: the code that runs the service. `copier update` replaces it.

Your code imports from a few modules:

- `app.kit.db`: models, column types, sessions, pagination, the `Database`;
- `app.kit.web`: `Router`, session dependencies, field types, errors;
- `app.kit.application`, `app.kit.jobs`, `app.kit.settings`, `app.kit.command`: what `app/main.py`
  and its neighbours use.

Any other module of the kit may change with any update. The kit imports none of your code.
"""
