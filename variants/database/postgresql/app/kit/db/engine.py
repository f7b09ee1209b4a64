"""Engines for PostgreSQL: all code that depends on the driver, asyncpg."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import URL, Connection, Dialect, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError, OperationalError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    create_async_engine,
)

from app.kit.db.base import serialize_json
from app.kit.db.pool import Isolation, Role, pool_options
from app.kit.db.wait_log import WaitLog
from app.kit.settings import KitSettings, SettingsError

# https://www.postgresql.org/docs/current/errcodes-appendix.html
READ_ONLY_SQL_TRANSACTION = "25006"

# Seconds that a change of the schema waits for a lock. All requests to the table queue behind it,
# so it gives up early and tries again later.
DDL_LOCK_TIMEOUT = 1

CANNOT_CONNECT = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.TargetServerAttributeNotMatched,
)


def create_engine(settings: KitSettings, role: Role) -> AsyncEngine:
    """Create the engine for a role. It opens no connection before the first use.

    Raises:
        SettingsError: The schema cannot be changed through PgBouncer.
    """
    migrates = role == "migrate"
    reads = role in ("read", "probe")
    pgbouncer = settings.database_pgbouncer and not migrates
    options: dict[str, Any] = {}
    if pgbouncer:
        # Each transaction may run in another server process: prepared statements do not exist
        # there, and session settings must be set per transaction.
        if reads:
            options["execution_options"] = {"postgresql_readonly": True}
        caches = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
    else:
        # A single statement needs no transaction, and takes one round trip without it instead of
        # three.
        if reads:
            options["isolation_level"] = "AUTOCOMMIT"
        caches = {}
    engine = create_async_engine(
        _translate(_direct_url(settings) if migrates else settings.database_url),
        echo=settings.database_echo,
        # Values of statements must not appear in logs and tracebacks.
        hide_parameters=True,
        json_serializer=serialize_json,
        **pool_options(settings, role),
        **options,
        connect_args={
            **caches,
            "async_creator_fn": _connect,
            "timeout": settings.database_connect_timeout,
            # For a server that does not respond. One second longer than the server's own timeout,
            # which has the clearer error.
            "command_timeout": None if migrates else settings.database_statement_timeout + 1,
            "server_settings": {
                "application_name": f"{settings.title} ({role})",
                # PgBouncer refuses connections with other parameters than application_name.
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

    # A URL may name several hosts, one of which is the primary. For the driver, one unresponsive
    # host would use up the whole connect timeout, so each host gets a share of it; and the driver
    # would always start with the first host, instead of the last known primary.
    last_primary = 0

    @event.listens_for(engine.sync_engine, "do_connect")
    def connect(dialect: Dialect, record: object, args: list[Any], kwargs: dict[str, Any]) -> Any:
        nonlocal last_primary
        hosts = _hosts(kwargs)
        cause: Exception | None = None
        for number in [*range(last_primary, len(hosts)), *range(last_primary)]:
            try:
                connection = dialect.connect(*args, **{**kwargs, **hosts[number]})
            except TimeoutError:
                # A connect timeout, which must not be taken for a statement timeout.
                cause = ConnectionError("no response")
            except (*CANNOT_CONNECT, dialect.loaded_dbapi.Error) as error:
                # SQLAlchemy does not wrap all of the driver's errors.
                cause = error
            else:
                last_primary = number
                return connection
        # An error that SQLAlchemy recognizes.
        raise dialect.loaded_dbapi.OperationalError("cannot connect", cause) from cause

    ping = engine.dialect.do_ping

    def do_ping(connection: Any) -> bool:
        # The driver's timeout is that of a statement, by which the request would have timed out.
        limit = asyncio.get_running_loop().call_later(
            settings.database_connect_timeout, abort, connection.driver_connection
        )
        try:
            return ping(connection)
        except OSError:
            # No response; SQLAlchemy does not recognize this error.
            return False
        finally:
            limit.cancel()

    engine.dialect.do_ping = do_ping  # type: ignore[assignment, method-assign]

    @event.listens_for(engine.sync_engine, "checkout")
    def refuse_closed(connection: Any, record: object, proxy: object) -> None:
        # Takes no round trip, unlike a ping: the driver knows if the server closed the connection.
        if connection.driver_connection.is_closed():
            raise DisconnectionError("the server closed this connection")

    @event.listens_for(engine.sync_engine, "handle_error")
    def leave_lost_server(context: ExceptionContext) -> Exception | None:
        error = context.original_exception
        if role == "write" and getattr(error, "sqlstate", None) == READ_ONLY_SQL_TRANSACTION:
            # After a failover, the former primary may still run as a standby.
            context.is_disconnect = True
        if isinstance(error, OSError):
            # A timeout of the driver or a network error; SQLAlchemy recognizes neither.
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = False
            return OperationalError(context.statement, None, error, hide_parameters=True)
        return None

    return engine


def transaction_options(isolation: Isolation, role: Role) -> dict[str, Any]:
    """The execution options of a connection whose transaction has an isolation level."""
    return {"isolation_level": isolation}


@asynccontextmanager
async def schema_lock(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """The connection of the one process that may change the schema; others wait, without limit.

    The lock belongs to the connection that changes the schema, and ends with it: no
    pool keeps the connection. It polls: a process that blocks in pg_advisory_lock() would hold a
    snapshot, for which CREATE INDEX CONCURRENTLY waits.
    """
    parameters = {"name": f"schema of {engine.url.database}"}
    take = text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")
    waiting = WaitLog("another process, which is changing the schema")
    async with engine.connect() as connection:
        while not await connection.scalar(take, parameters):
            await connection.commit()
            waiting.log_if_due()
            await asyncio.sleep(0.1)
        await connection.commit()
        yield connection


async def try_lock(session: AsyncSession, name: str) -> bool:
    """Take a lock until the transaction ends; False: another transaction has it."""
    statement = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")
    return bool(await session.scalar(statement, {"name": name}))


async def _connect(*args: Any, **arguments: Any) -> Any:
    """Connect; after a cancellation, finish in the background and discard the connection.

    If the driver itself were cancelled, it would leave a future that is logged as an error.
    """
    connecting = asyncio.ensure_future(asyncpg.connect(*args, **arguments))
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        connecting.add_done_callback(_discard)
        # Until then it counts among the connections of the server.
        await asyncio.wait([connecting])
        raise


def _discard(connecting: asyncio.Future[Any]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().terminate()


def abort(connection: Any) -> None:
    """Abort a connection: callers that wait for the server get an error at once."""
    # Before asyncpg 0.32, it had no effect on a connection that was being closed.
    connection.terminate()


def _direct_url(settings: KitSettings) -> URL:
    """The URL for migrations: their session-level lock does not work through PgBouncer."""
    if settings.database_pgbouncer and settings.database_direct_url is None:
        raise SettingsError(
            "DATABASE_DIRECT_URL is not set: the schema cannot be changed through PgBouncer. "
            "Set it to the URL of the PostgreSQL server itself."
        )
    return settings.database_direct_url or settings.database_url


def _hosts(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """The connect arguments for each host of a URL with several hosts; otherwise a single empty
    dict."""
    hosts = arguments.get("host")
    if not isinstance(hosts, list):
        return [{}]
    common = {
        "timeout": arguments["timeout"] / len(hosts),
        # Standbys are read-only, and their rows may be stale.
        "target_session_attrs": arguments.get("target_session_attrs", "primary"),
    }
    addresses = zip(hosts, arguments["port"], strict=True)
    return [{**common, "host": host, "port": port} for host, port in addresses]


def _timeouts(settings: KitSettings, role: Role) -> dict[str, str]:
    # https://www.postgresql.org/docs/current/runtime-config-client.html, in milliseconds
    lock_timeout = DDL_LOCK_TIMEOUT if role == "migrate" else settings.database_lock_timeout
    timeouts = {"lock_timeout": str(round(lock_timeout * 1000))}
    if role != "migrate":
        timeouts["statement_timeout"] = str(round(settings.database_statement_timeout * 1000))
        if settings.environment == "prod":
            # Releases the locks of a process that froze or vanished. (Only in prod: elsewhere, a
            # transaction may be long because of a breakpoint or force_rollback.)
            timeouts["idle_in_transaction_session_timeout"] = timeouts["statement_timeout"]
    return timeouts


def _translate(url: URL) -> URL:
    """Convert libpq's options, which hosting providers use, into the driver's."""
    query = dict(url.query)
    if "sslmode" in query:
        query["ssl"] = query.pop("sslmode")
    if query.get("target_session_attrs") == "read-write":
        # Sessions for reading are read-only even on the primary.
        query["target_session_attrs"] = "primary"
    return url.set(query=query)
