"""Operations on transfers."""

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import ConflictError, NotFoundError
from app.example.transfers.models import Transfer
from app.example.users.models import User
from app.kit.db import AsyncReadSession

# The maximum of the balance column.
MAX_BALANCE = Decimal("999999999999.99")

TRANSFER = select(Transfer).where(Transfer.id == bindparam("id"))
# Rows are locked in the order of their ids, so that transfers in both directions between the same
# users wait for each other instead of ending in a deadlock.
LOCKED_USERS = (
    select(User)
    .where(User.id.in_(bindparam("ids", expanding=True)))
    .order_by(User.id)
    .with_for_update()
)


@dataclass(frozen=True)
class MadeTransfer:
    """A transfer and the resulting balances."""

    id: int
    from_user_id: int
    to_user_id: int
    amount: Decimal
    from_balance: Decimal
    to_balance: Decimal


async def make_transfer(
    session: AsyncSession, from_user_id: int, to_user_id: int, amount: Decimal
) -> MadeTransfer:
    """Move an amount between two different users and record it.

    Raises:
        NotFoundError: There is no such user.
        ConflictError: The sender's balance is too low, or the receiver's would be too high.
    """
    found = await session.scalars(LOCKED_USERS, {"ids": [from_user_id, to_user_id]})
    users = {user.id: user for user in found}
    for user_id in (from_user_id, to_user_id):
        if user_id not in users:
            raise NotFoundError("user", user_id)
    sender, receiver = users[from_user_id], users[to_user_id]
    if sender.balance < amount:
        raise ConflictError("The sender's balance is smaller than the amount.")
    if receiver.balance + amount > MAX_BALANCE:
        raise ConflictError("The receiver's balance would be larger than an account can hold.")
    sender.balance -= amount
    receiver.balance += amount
    transfer = Transfer(from_user_id=from_user_id, to_user_id=to_user_id, amount=amount)
    session.add(transfer)
    await session.flush()
    return MadeTransfer(
        transfer.id, from_user_id, to_user_id, amount, sender.balance, receiver.balance
    )


async def get_transfer(session: AsyncReadSession, transfer_id: int) -> Transfer:
    """One transfer.

    Raises:
        NotFoundError: There is none with this id.
    """
    transfer = await session.scalar(TRANSFER, {"id": transfer_id})
    if transfer is None:
        raise NotFoundError("transfer", transfer_id)
    return transfer
