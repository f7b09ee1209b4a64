"""Engines for PostgreSQL: all that the service knows about its driver, asyncpg."""

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
        _translate(_direct_url(settings) if migrates else settings.database_url),
        echo=settings.database_echo,
        # Values of statements belong in no log and in no traceback.
        hide_parameters=True,
        **pool_options(settings, role),
        **options,
        connect_args={
            **caches,
            "async_creator_fn": _connect,
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

    # A URL may name several hosts, of which one is the primary at a time. The driver would give the
    # first one that swallows packets all the time there is for connecting, so each gets its share;
    # and it would begin with the same one every time.
    last_found = 0

    @event.listens_for(engine.sync_engine, "do_connect")
    def connect(dialect: Dialect, record: object, args: list[Any], kwargs: dict[str, Any]) -> Any:
        nonlocal last_found
        hosts = _hosts(kwargs)
        cause: Exception | None = None
        for number in [*range(last_found, len(hosts)), *range(last_found)]:
            try:
                connection = dialect.connect(*args, **{**kwargs, **hosts[number]})
            except TimeoutError:
                # Not a statement that took too long: there was no answer at all.
                cause = ConnectionError("no answer")
            except (*CANNOT_CONNECT, dialect.loaded_dbapi.Error) as error:
                # SQLAlchemy passes on some of the driver's errors as they are.
                cause = error
            else:
                last_found = number
                return connection
        # The driver reports it by errors that SQLAlchemy does not know.
        raise dialect.loaded_dbapi.OperationalError("cannot connect", cause) from cause

    ping = engine.dialect.do_ping

    def do_ping(connection: Any) -> bool:
        # The driver would wait as long as for a statement, and by then the request has ended.
        limit = asyncio.get_running_loop().call_later(
            settings.database_connect_timeout, abort, connection.driver_connection
        )
        try:
            return ping(connection)
        except OSError:
            # No answer, which the driver reports by an error that SQLAlchemy does not know.
            return False
        finally:
            limit.cancel()

    engine.dialect.do_ping = do_ping  # type: ignore[assignment, method-assign]

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


def transaction_options(isolation: Isolation, role: Role) -> dict[str, Any]:
    """The execution options of a connection whose transaction has an isolation level."""
    return {"isolation_level": isolation}


@asynccontextmanager
async def schema_lock(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """The connection of the one process that may change the schema; others wait, without limit.

    The lock belongs to the connection, so whoever works on it has the lock, and it ends with it: no
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
    """Connect, to the end even if it is cancelled: cancelled in the middle, the driver leaves a
    future behind that is logged as an error."""
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
    """Cut a connection off: whoever waits for its server gets an error at once."""
    # Before asyncpg 0.32 it did nothing to a connection that was being closed.
    connection.terminate()


def _direct_url(settings: KitSettings) -> URL:
    """Where the schema is changed: a lock that outlives its transaction needs a server process of
    its own."""
    if settings.database_pgbouncer and settings.database_direct_url is None:
        raise SettingsError(
            "DATABASE_DIRECT_URL is not set: the schema cannot be changed through PgBouncer. "
            "Set it to the URL of the PostgreSQL server itself."
        )
    return settings.database_direct_url or settings.database_url


def _hosts(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """The driver's arguments for each of the hosts of a URL, if there are several; otherwise none
    are needed."""
    hosts = arguments.get("host")
    if not isinstance(hosts, list):
        return [{}]
    common = {
        "timeout": arguments["timeout"] / len(hosts),
        # Standbys take no writes, and their reads may be old.
        "target_session_attrs": arguments.get("target_session_attrs", "primary"),
    }
    places = zip(hosts, arguments["port"], strict=True)
    return [{**common, "host": host, "port": port} for host, port in places]


def _timeouts(settings: KitSettings, role: Role) -> dict[str, str]:
    # https://www.postgresql.org/docs/current/runtime-config-client.html, in milliseconds
    lock_timeout = DDL_LOCK_TIMEOUT if role == "migrate" else settings.database_lock_timeout
    timeouts = {"lock_timeout": str(round(lock_timeout * 1000))}
    if role != "migrate":
        timeouts["statement_timeout"] = str(round(settings.database_statement_timeout * 1000))
        if settings.environment == "prod":
            # A transaction whose process froze or vanished must not keep its locks. (Elsewhere one
            # may be at a breakpoint, or be all that a demo does.)
            timeouts["idle_in_transaction_session_timeout"] = timeouts["statement_timeout"]
    return timeouts


def _translate(url: URL) -> URL:
    """Hosting providers write what libpq understands."""
    query = dict(url.query)
    if "sslmode" in query:
        query["ssl"] = query.pop("sslmode")
    if query.get("target_session_attrs") == "read-write":
        # Our sessions for reading are read-only wherever they are.
        query["target_session_attrs"] = "primary"
    return url.set(query=query)
