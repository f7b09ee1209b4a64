"""Engines for PostgreSQL: all that the service knows about its driver, asyncpg."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import URL, Connection, Dialect, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from app.db.pool import Role, pool_options
from app.settings import Settings, SettingsError

# https://www.postgresql.org/docs/current/errcodes-appendix.html
READ_ONLY_SQL_TRANSACTION = "25006"


def create_engine(settings: Settings, role: Role) -> AsyncEngine:
    """Create the engine for a role. It opens no connection before the first use.

    Raises:
        SettingsError: The schema cannot be changed through PgBouncer.
    """
    migrates = role == "migrate"
    reads = role in ("read", "probe")
    pgbouncer = settings.database_pgbouncer and not migrates
    options: dict[str, Any] = {}
    if pgbouncer:
        # Each transaction may meet another server process: statements prepared in one are unknown
        # to the next. What the server must know comes with the transaction.
        if reads:
            options["execution_options"] = {"postgresql_readonly": True}
        caches = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
    else:
        # A single statement sees one snapshot with or without a transaction, and without one it
        # costs one message to the server instead of three.
        if reads:
            options["isolation_level"] = "AUTOCOMMIT"
        caches = {}
    engine = create_async_engine(
        _translate_sslmode(_direct_url(settings) if migrates else settings.database_url),
        echo=settings.database_echo,
        # Values of statements belong in no log and in no traceback.
        hide_parameters=True,
        **pool_options(settings, role),
        **options,
        connect_args={
            **caches,
            "timeout": settings.database_connect_timeout,
            # The server's timeout comes first and is the better one: it says what happened. The
            # driver's is for a server that does not answer at all.
            "command_timeout": None if migrates else settings.database_statement_timeout + 1,
            "server_settings": {
                "application_name": f"{settings.title} ({role})",
                # PgBouncer refuses a connection with other parameters than the name.
                **({} if pgbouncer else _timeouts(settings, role)),
                **({"default_transaction_read_only": "on"} if reads and not pgbouncer else {}),
            },
        },
    )

    if pgbouncer:

        @event.listens_for(engine.sync_engine, "begin")
        def set_timeouts(connection: Connection) -> None:
            parameters = _timeouts(settings, role)
            calls = (f"set_config('{name}', '{value}', true)" for name, value in parameters.items())
            connection.exec_driver_sql(f"SELECT {', '.join(calls)}")

    @event.listens_for(engine.sync_engine, "do_connect")
    def connect(dialect: Dialect, record: object, args: list[Any], kwargs: dict[str, Any]) -> Any:
        # The driver reports a server that it cannot reach, or that refuses it, by errors that
        # SQLAlchemy does not know.
        try:
            return dialect.connect(*args, **kwargs)
        except TimeoutError:
            # Not a statement that took too long: there was no answer at all.
            cause: Exception = ConnectionError("no answer")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            cause = error
        raise dialect.loaded_dbapi.OperationalError("cannot connect", cause) from cause

    @event.listens_for(engine.sync_engine, "checkout")
    def refuse_closed(connection: Any, record: object, proxy: object) -> None:
        # Costs no message, unlike a ping: the driver has noticed when the server hung up.
        if connection.driver_connection.is_closed():
            raise DisconnectionError("the server closed this connection")

    @event.listens_for(engine.sync_engine, "handle_error")
    def leave_lost_server(context: ExceptionContext) -> Exception | None:
        error = context.original_exception
        if role == "write" and getattr(error, "sqlstate", None) == READ_ONLY_SQL_TRANSACTION:
            # After a failover the old server may live on as a standby, of no use to writers.
            context.is_disconnect = True
        if isinstance(error, OSError):
            # The driver's own timeout, or the network's errors, which SQLAlchemy does not know.
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = False
            return OperationalError(context.statement, None, error, hide_parameters=True)
        return None

    return engine


@asynccontextmanager
async def schema_lock(engine: AsyncEngine) -> AsyncIterator[None]:
    """Let one process at a time change the schema; the others wait, without limit.

    It polls: a process that blocks in pg_advisory_lock() would hold a snapshot, for which CREATE
    INDEX CONCURRENTLY waits.
    """
    name = f"schema of {engine.url.database}"
    async with engine.connect() as connection:
        connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
        parameters = {"name": name}
        take = text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")
        noticed = time.monotonic()
        while not await connection.scalar(take, parameters):
            if time.monotonic() - noticed >= 5:
                print("Another process is changing the schema; waiting for it.", flush=True)
                noticed = time.monotonic()
            await asyncio.sleep(0.1)
        try:
            yield
        finally:
            await connection.execute(
                text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))"), parameters
            )


async def try_lock(session: AsyncSession, name: str) -> bool:
    """Take a lock until the transaction ends; False: another transaction has it."""
    statement = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")
    return bool(await session.scalar(statement, {"name": name}))


def _direct_url(settings: Settings) -> URL:
    """Where the schema is changed: a lock that outlives its transaction needs a server process of
    its own."""
    if settings.database_pgbouncer and settings.database_direct_url is None:
        raise SettingsError(
            "DATABASE_DIRECT_URL is not set: the schema cannot be changed through PgBouncer. "
            "Set it to the URL of the PostgreSQL server itself."
        )
    return settings.database_direct_url or settings.database_url


def _timeouts(settings: Settings, role: Role) -> dict[str, str]:
    # https://www.postgresql.org/docs/current/runtime-config-client.html, in milliseconds
    timeouts = {"lock_timeout": str(round(settings.database_lock_timeout * 1000))}
    if role != "migrate":
        timeouts["statement_timeout"] = str(round(settings.database_statement_timeout * 1000))
        if not settings.database_force_rollback and settings.environment != "test":
            # A transaction whose process froze or vanished must not keep its locks. (One that is
            # to be rolled back lives long, and so does one at a breakpoint.)
            timeouts["idle_in_transaction_session_timeout"] = timeouts["statement_timeout"]
    return timeouts


def _translate_sslmode(url: URL) -> URL:
    """Hosting providers write `?sslmode=`, as libpq has it; the driver's name for it is `ssl`."""
    if "sslmode" not in url.query:
        return url
    return url.difference_update_query(["sslmode"]).update_query_dict({"ssl": url.query["sslmode"]})
