"""What a script does: it creates a user, pages through a list, and handles a problem.

`service_client` is generated; the type checker refuses this file where the document says less than
it needs.
"""

import sys

from service_client import Client
from service_client.api.users import create_user, get_user, list_users
from service_client.models import Problem, UserCreate, UserPage, UserRead
from service_client.types import UNSET, Unset

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)

body = UserCreate(username="python", email="python@example.org", balance="12.50")
created = create_user.sync_detailed(client=client, body=body, idempotency_key="python")
user = created.parsed
assert isinstance(user, UserRead)
assert user.balance == "12.50"
assert user.created_at.tzinfo is not None
assert created.headers["Location"] == f"/api/v1/users/{user.id}"

again = create_user.sync(client=client, body=body, idempotency_key="python")
assert isinstance(again, UserRead)
assert again.id == user.id

names: list[str] = []
after: str | Unset | None = UNSET
while after is not None:
    page = list_users.sync(client=client, limit=1, after=after)
    assert isinstance(page, UserPage)
    names += [each.username for each in page.items]
    after = page.next_
assert "python" in names

missing = get_user.sync_detailed(4040404, client=client)
assert isinstance(missing.parsed, Problem)
assert missing.parsed.status == missing.status_code == 404
assert missing.parsed.detail == "There is no user 4040404."
assert missing.parsed.request_id == missing.headers["X-Request-ID"]

invalid = create_user.sync(client=client, body=UserCreate(username="nobody", email="nobody"))
assert isinstance(invalid, Problem)
assert isinstance(invalid.errors, list)
assert invalid.errors[0].field == "body.email"
