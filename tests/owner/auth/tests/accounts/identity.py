"""An identity provider: its keys, and tokens that it signs."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from httpx2 import MockTransport, Request, Response

from app.accounts.models import Account
from app.kit.db import Database
from app.settings import Settings

DEFAULTS = Settings.model_fields


@dataclass
class IdentityProvider:
    """Signs tokens with its newest key, and shows the public ones."""

    keys: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)
    requests: int = 0

    def add_key(self) -> None:
        """Make a new key, to sign with from now on."""
        self.keys[f"key-{len(self.keys) + 1}"] = ec.generate_private_key(ec.SECP256R1())

    def sign(self, subject: str, **claims: Any) -> dict[str, str]:
        """The headers of a request by a subject; `claims` are other ones than usual."""
        key_id, key = list(self.keys.items())[-1]
        payload = {
            "sub": subject,
            "iss": DEFAULTS["token_issuer"].default,
            "aud": DEFAULTS["token_audience"].default,
            "exp": int(time.time()) + 600,
            **claims,
        }
        token = jwt.encode(payload, key, algorithm="ES256", headers={"kid": key_id})
        return {"Authorization": f"Bearer {token}"}

    @property
    def transport(self) -> MockTransport:
        """What a client has in place of a network: it leads to the keys."""
        return MockTransport(self._show_keys)

    def _show_keys(self, request: Request) -> Response:
        self.requests += 1
        algorithm = jwt.get_algorithm_by_name("ES256")
        keys = [
            {**json.loads(algorithm.to_jwk(key.public_key())), "kid": key_id, "use": "sig"}
            for key_id, key in self.keys.items()
        ]
        return Response(200, json={"keys": keys})


async def add_account(database: Database, subject: str, *, is_editor: bool = False) -> int:
    """Add an account, and return its id."""
    account = Account(subject=subject, name=subject.title(), is_editor=is_editor)
    async with database.write() as session:
        session.add(account)
    return account.id
