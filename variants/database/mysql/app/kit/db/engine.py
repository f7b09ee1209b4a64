"""Engines for MySQL and MariaDB: all code that depends on the driver, aiomysql."""

import asyncio
import hashlib
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import aiomysql
from pymysql.constants import CLIENT, CR, ER
from pymysql.err import MySQLError
from sqlalchemy import URL, Dialect, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DataError, DisconnectionError, OperationalError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    create_async_engine,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import PoolResetState
from sqlalchemy.schema import CreateTable

from app.kit.db.base import serialize_json
from app.kit.db.pool import Isolation, Role, pool_options
from app.kit.db.wait_log import WaitLog
from app.kit.settings import KitSettings, SettingsError

# https://mariadb.com/kb/en/mariadb-error-code-reference/
READ_ONLY = {1290, 1792, 1836}  # the server, the transaction, the server for maintenance
KILLED = {1053, 1927, 3169}  # at shutdown, on MariaDB, on MySQL
# The server is unreachable or refuses the connection.
UNREACHABLE = (OSError, MySQLError)
ABANDONED = (asyncio.CancelledError, TimeoutError)

# The servers' defaults ignore case, accents and trailing spaces in comparisons, and MariaDB's may
# not store all of Unicode. MariaDB executes /*M! */, and MySQL since 8.0.17 /*!80017 */; each takes
# the other's for a comment.
TABLE_OPTIONS = (
    " DEFAULT CHARACTER SET utf8mb4"
    " /*!80017 COLLATE utf8mb4_0900_bin */ /*M! COLLATE utf8mb4_nopad_bin */"
)

READERS = ("read", "probe")
MAX_NAME_BYTES = 100
HOLDS_LOCKS = "holds_locks"
# Seconds that a change of the schema waits for a lock. All requests to the table queue behind it,
# so it gives up early and tries again later.
DDL_LOCK_TIMEOUT = 1


def create_engine(settings: KitSettings, role: Role) -> AsyncEngine:
    """Create the engine for a role. It opens no connection before the first use.

    Raises:
        SettingsError: The TLS options of the URL are invalid.
    """
    url, tls = _translate_tls(settings.database_url)
    engine = create_async_engine(
        url,
        echo=settings.database_echo,
        # Values of statements must not appear in logs and tracebacks.
        hide_parameters=True,
        json_serializer=serialize_json,
        **pool_options(settings, role),
        # Readers: a single statement needs no transaction, and takes one round trip without it
        # instead of two. Writers: with InnoDB's default, REPEATABLE READ, locking reads and writes
        # see current rows, but other reads an old snapshot; and gap locks cause deadlocks between
        # transactions that do not conflict.
        isolation_level="AUTOCOMMIT" if role in READERS else "READ COMMITTED",
        skip_autocommit_rollback=True,
        connect_args={
            "async_creator_fn": _connector(settings, role),
            "charset": "utf8mb4",
            "init_command": _set_session(settings, role),
            "program_name": _program_name(settings, role),
            "ssl": tls,
        },
    )

    @event.listens_for(engine.sync_engine, "do_connect")
    def connect(dialect: Dialect, record: object, args: list[Any], kwargs: dict[str, Any]) -> Any:
        try:
            return dialect.connect(*args, **kwargs)
        except OSError as error:
            # A timeout, which SQLAlchemy does not recognize as a driver's error.
            raise dialect.loaded_dbapi.OperationalError(
                CR.CR_CONN_HOST_ERROR, "cannot connect"
            ) from error

    @event.listens_for(engine.sync_engine, "checkout")
    def refuse_closed(connection: Any, record: object, proxy: object) -> None:
        # Takes no round trip, unlike a ping; but only a ping detects silently dropped connections.
        if connection.driver_connection.is_closed:
            raise DisconnectionError("the server closed this connection")

    @event.listens_for(engine.sync_engine, "reset")
    def release_locks(connection: Any, record: Any, state: PoolResetState) -> None:
        if state.asyncio_safe and record.info.pop(HOLDS_LOCKS, False):
            if not state.transaction_was_reset:
                connection.rollback()
            cursor = connection.cursor()
            cursor.execute("DO RELEASE_ALL_LOCKS()")
            cursor.close()

    @event.listens_for(engine.sync_engine, "handle_error")
    def leave_lost_server(context: ExceptionContext) -> Exception | None:
        error = context.original_exception
        code = error.args[0] if isinstance(error, MySQLError) and error.args else None
        if role == "write" and code in READ_ONLY:
            # After a failover, the former primary may still run as a replica.
            context.is_disconnect = True
        if code in KILLED or code == ER.LOCK_DEADLOCK:
            # A deadlock has rolled back the whole transaction: later statements on this connection
            # would be committed without the earlier ones.
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = False
        if isinstance(error, UnicodeEncodeError):
            # The driver's error for values that no column can store; SQLAlchemy does not wrap it.
            return DataError(None, None, error)
        if isinstance(error, OSError):
            # A timeout or a network error.
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = False
            return OperationalError(context.statement, None, error, hide_parameters=True)
        return None

    return engine


@compiles(CreateTable, "mysql")
def _create_table(create: CreateTable, compiler: Any, **options: Any) -> str:
    """Make text compare as on other databases, unless the table has options of its own."""
    statement: str = compiler.visit_create_table(create, **options).rstrip()
    own = any(option.startswith("mysql_") for option in create.element.kwargs)
    return statement if own else statement + TABLE_OPTIONS


def transaction_options(isolation: Isolation, role: Role) -> dict[str, Any]:
    """The execution options of a connection whose transaction has an isolation level."""
    return {"isolation_level": isolation}


@asynccontextmanager
async def schema_lock(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """The connection of the one process that may change the schema; others wait, without limit.

    The lock belongs to the connection that changes the schema, and ends with it: no
    pool keeps the connection.
    """
    parameters = {"name": _lock_name(engine.url.database, "schema")}
    waiting = WaitLog("another process, which is changing the schema")
    async with engine.connect() as connection:
        while not await connection.scalar(text("SELECT GET_LOCK(:name, 0)"), parameters):
            await connection.commit()
            waiting.log_if_due()
            await asyncio.sleep(0.1)
        await connection.commit()
        yield connection


async def try_lock(session: AsyncSession, name: str) -> bool:
    """Take a lock until the transaction ends; False: another transaction has it."""
    connection = await session.connection()
    # The lock belongs to the connection and outlives COMMIT; it is released when the connection is
    # returned to the pool.
    connection.info[HOLDS_LOCKS] = True
    statement = text("SELECT GET_LOCK(:name, 0)")
    parameters = {"name": _lock_name(connection.engine.url.database, name)}
    return bool(await connection.scalar(statement, parameters))


def abort(connection: Any) -> None:
    """Abort a connection: callers that wait for the server get an error at once."""
    connection.abort()


def _lock_name(database: str | None, name: str) -> str:
    # Lock names are global to the server, case-insensitive, and limited to 64 characters.
    return hashlib.sha256(f"{database} {name}".encode()).hexdigest()


class Connection(aiomysql.Connection):  # type: ignore[misc]
    """The driver's connection, with timeouts; the driver's own would wait indefinitely."""

    statement_timeout: float | None = None
    """Seconds that a statement may take; None: no limit."""
    ping_timeout: float | None = None
    """Seconds that a ping may take; None: no limit."""
    abandon: Callable[[int], None] | None = None
    """Called with the id of the connection when its statement is cancelled or timed out."""

    @property
    def is_closed(self) -> bool:
        """Whether either side has closed the connection."""
        return self._reader is None or self._reader.eof_received or self._writer.is_closing()

    def escape(self, obj: Any) -> Any:
        """Write a value as SQL."""
        # The driver calls a function that PyMySQL 1.2 no longer has.
        return f"_binary X'{obj.hex()}'" if isinstance(obj, bytes) else super().escape(obj)

    def abort(self) -> None:
        """Close the connection without notifying the server."""
        if self._writer is not None:
            self._writer.transport.abort()
        self.close()

    async def ensure_closed(self) -> None:
        """Close the connection, after notifying the server if it is reachable."""
        try:
            if not self.is_closed:
                await super().ensure_closed()
        finally:
            self.close()

    def _write_bytes(self, data: bytes) -> None:
        if self.is_closed:
            # uvloop would report it by a RuntimeError.
            message = "the server closed this connection"
            raise aiomysql.OperationalError(CR.CR_SERVER_GONE_ERROR, message)
        super()._write_bytes(data)

    async def _read_bytes(self, number: int) -> Any:
        if self._reader is None:
            # Aborted between two packets of a response.
            raise aiomysql.OperationalError(CR.CR_SERVER_LOST, "we closed this connection")
        return await super()._read_bytes(number)

    async def query(self, sql: str, unbuffered: bool = False) -> Any:
        """Run a statement."""
        try:
            async with asyncio.timeout(self.statement_timeout):
                return await super().query(sql, unbuffered)
        except ABANDONED:
            if self.abandon is not None:
                self.abandon(self.thread_id())
            raise

    async def ping(self, reconnect: bool = False) -> None:
        """Check that the server responds."""
        try:
            async with asyncio.timeout(self.ping_timeout):
                await super().ping(reconnect)
        except TimeoutError as error:
            message = "no response to a ping"
            raise aiomysql.OperationalError(CR.CR_SERVER_LOST, message) from error

    async def commit(self) -> None:
        """Commit the transaction; does nothing in autocommit mode."""
        if not self.get_autocommit():
            async with asyncio.timeout(self.statement_timeout):
                await super().commit()

    async def rollback(self) -> None:
        """Roll back the transaction."""
        async with asyncio.timeout(self.statement_timeout):
            await super().rollback()

    async def _request_authentication(self) -> None:
        # The driver would continue without TLS.
        if self._ssl_context and not self.server_capabilities & CLIENT.SSL:
            raise aiomysql.OperationalError(CR.CR_SSL_CONNECTION_ERROR, "the server has no TLS")
        await super()._request_authentication()


def _connector(settings: KitSettings, role: Role) -> Callable[..., Awaitable[Connection]]:
    abandoned: set[int] = set()
    killers: set[asyncio.Task[None]] = set()

    async def connect(**arguments: Any) -> Connection:
        # The driver encodes passwords in Latin-1; this makes it send UTF-8.
        password = arguments.get("password", "").encode().decode("latin-1")
        connection = Connection(**{**arguments, "password": password})
        try:
            # The driver's own timeout does not cover the handshake, and it may lose a cancellation
            # on a refused connection (https://github.com/python/cpython/issues/86296).
            async with asyncio.timeout(settings.database_connect_timeout):
                await connection._connect()
        except BaseException:
            connection.close()
            raise
        connection.abandon = partial(abandon, arguments)
        connection.ping_timeout = settings.database_connect_timeout
        if role != "migrate":
            # One second longer than the server's timeout, which has the clearer error.
            connection.statement_timeout = settings.database_statement_timeout + 1
        return connection

    def abandon(arguments: dict[str, Any], number: int) -> None:
        # Otherwise the server would finish the statement, and hold its locks, before it notices the
        # disconnect.
        abandoned.add(number)
        if all(task.done() for task in killers):
            task = asyncio.create_task(kill_abandoned(arguments))
            killers.add(task)
            task.add_done_callback(killers.discard)

    async def kill_abandoned(arguments: dict[str, Any]) -> None:
        try:
            while abandoned:
                connection = await connect(**arguments)
                try:
                    while abandoned:
                        with suppress(aiomysql.OperationalError):  # It has ended already.
                            await connection.query(f"KILL {abandoned.pop()}")
                finally:
                    await connection.ensure_closed()
        except UNREACHABLE:
            abandoned.clear()

    return connect


def _set_session(settings: KitSettings, role: Role) -> str:
    """The SQL that configures a connection, independent of the server's defaults.

    Comments as above: /*M! */ is for MariaDB, /*!80000 */ for MySQL.
    """
    lock_timeout = math.ceil(
        DDL_LOCK_TIMEOUT if role == "migrate" else settings.database_lock_timeout
    )
    variables = [
        "time_zone = '+00:00'",
        # Values that do not fit are errors, instead of being truncated.
        "sql_mode = 'TRADITIONAL,ONLY_FULL_GROUP_BY'",
        f"innodb_lock_wait_timeout = {lock_timeout}",
        # For metadata locks, which schema changes take. The default is a day or a year.
        f"lock_wait_timeout = {lock_timeout}",
    ]
    if role != "migrate":
        timeout = settings.database_statement_timeout
        # MySQL's timeout is in milliseconds and for SELECT only.
        variables += [
            f"/*M! max_statement_time = {timeout} */ "
            f"/*!80000 max_execution_time = {round(timeout * 1000)} */"
        ]
        if not settings.database_force_rollback and settings.environment != "test":
            # Releases the locks of a process that froze or vanished. (Not with force_rollback or at
            # breakpoints in tests, where transactions are long.) MySQL has a timeout only for idle
            # connections; its default is eight hours.
            variables += [
                f"/*M! idle_transaction_timeout = {math.ceil(timeout)} */ "
                "/*!80000 wait_timeout = 28800 */"
            ]
    statement = f"SET {', '.join(variables)}"
    # A statement, because the name of the variable depends on the version.
    return f"{statement}; SET SESSION TRANSACTION READ ONLY" if role in READERS else statement


def _program_name(settings: KitSettings, role: Role) -> str:
    # Shown in performance_schema.session_connect_attrs. The driver fails on longer names.
    name = f"{settings.title} ({role})".encode()
    return name[:MAX_NAME_BYTES].decode(errors="ignore")


def _translate_tls(url: URL) -> tuple[URL, ssl.SSLContext | None]:
    """Convert `?ssl-mode=` and `&ssl-ca=`, options of MySQL's own clients that hosting providers
    use, into the driver's SSL context."""
    options = {key.replace("-", "_").lower(): key for key in url.query}
    mode = str(url.query.get(options.get("ssl_mode", ""), "")).upper()
    authority = url.query.get(options.get("ssl_ca", ""))
    url = url.difference_update_query([options[o] for o in ("ssl_mode", "ssl_ca") if o in options])
    mode = mode or ("VERIFY_CA" if authority else "DISABLED")
    if mode == "DISABLED":
        return url, None
    if mode not in ("REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"):
        raise SettingsError(
            "DATABASE_URL: ssl-mode must be DISABLED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY."
        )
    try:
        context = ssl.create_default_context(cafile=str(authority) if authority else None)
    except OSError:
        raise SettingsError(
            "DATABASE_URL: ssl-ca must name a readable file with certificates."
        ) from None
    context.check_hostname = mode == "VERIFY_IDENTITY"
    if mode == "REQUIRED":
        # Encryption without verification of the server.
        context.verify_mode = ssl.CERT_NONE
    return url, context
