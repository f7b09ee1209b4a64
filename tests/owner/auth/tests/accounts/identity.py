"""An identity provider: its keys, and tokens that it signs."""

import time
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from jwt.algorithms import ECAlgorithm

from app.accounts.models import Account
from app.kit.db import Database


@dataclass
class IdentityProvider:
    """Signs tokens with its newest key, and shows the public ones."""

    keys: list[EllipticCurvePrivateKey] = field(
        default_factory=lambda: [generate_private_key(SECP256R1())]
    )

    def sign(self, subject: str, **claims: Any) -> dict[str, str]:
        """The headers of a request by a subject; `claims` are other ones than usual."""
        payload = {
            "sub": subject,
            "iss": "https://login.example.com/",
            "aud": "notes",
            "exp": int(time.time()) + 600,
            **claims,
        }
        payload = {name: value for name, value in payload.items() if value is not None}
        key_id = str(len(self.keys))
        token = jwt.encode(payload, self.keys[-1], "ES256", headers={"kid": key_id})
        return {"Authorization": f"Bearer {token}"}

    def jwks(self) -> dict[str, Any]:
        """The public keys."""
        public = [ECAlgorithm.to_jwk(key.public_key(), as_dict=True) for key in self.keys]
        return {"keys": [{**key, "kid": str(n)} for n, key in enumerate(public, start=1)]}


async def add_account(database: Database, subject: str, *, is_editor: bool = False) -> int:
    """Add an account, and return its id."""
    account = Account(subject=subject, name=subject.title(), is_editor=is_editor)
    async with database.write() as session:
        session.add(account)
    return account.id
