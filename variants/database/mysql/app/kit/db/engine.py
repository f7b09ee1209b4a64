"""Engines for MySQL and MariaDB: all that the service knows about its driver, aiomysql."""

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

from app.kit.db.pool import Isolation, Role, pool_options
from app.kit.db.wait_log import WaitLog
from app.kit.settings import KitSettings, SettingsError

# https://mariadb.com/kb/en/mariadb-error-code-reference/
READ_ONLY = {1290, 1792, 1836}  # the server, the transaction, the server for maintenance
KILLED = {1053, 1927, 3169}  # at shutdown, on MariaDB, on MySQL
# The server is away, or has no place for us.
UNREACHABLE = (OSError, MySQLError)
NOBODY_WAITS = (asyncio.CancelledError, TimeoutError)

# The servers' own defaults compare text without regard to case, accents and trailing spaces, and
# MariaDB's may not even store all of Unicode. MariaDB runs what stands in /*M! */; MySQL, since
# 8.0.17, what stands in /*!80017 */; each takes the other's for a comment.
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
        SettingsError: What the URL says about TLS cannot be done.
    """
    url, tls = _translate_tls(settings.database_url)
    engine = create_async_engine(
        url,
        echo=settings.database_echo,
        # Values of statements belong in no log and in no traceback.
        hide_parameters=True,
        **pool_options(settings, role),
        # Readers need no transaction for a single statement, and without one send one message
        # instead of two. Writers: with InnoDB's default, REPEATABLE READ, locking reads and writes
        # see the newest rows but other reads an old snapshot, so a decision rests on both; and
        # they lock the gaps between rows, which makes deadlocks of what does not conflict.
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
            # The limit of time, which SQLAlchemy does not know.
            raise dialect.loaded_dbapi.OperationalError(
                CR.CR_CONN_HOST_ERROR, "cannot connect"
            ) from error

    @event.listens_for(engine.sync_engine, "checkout")
    def refuse_closed(connection: Any, record: object, proxy: object) -> None:
        # Costs no message, unlike a ping; but a ping also finds what a firewall dropped silently.
        if connection.driver_connection.hung_up:
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
            # After a failover the old server may live on as a replica, of no use to writers.
            context.is_disconnect = True
        if code in KILLED or code == ER.LOCK_DEADLOCK:
            # A deadlock has undone the whole transaction: on this connection what follows would be
            # committed alone.
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = False
        if isinstance(error, UnicodeEncodeError):
            # The driver refuses what no column can hold by an error that SQLAlchemy does not know.
            return DataError(None, None, error)
        if isinstance(error, OSError):
            # The limit of time again, or the network's errors.
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = False
            return OperationalError(context.statement, None, error, hide_parameters=True)
        return None

    return engine


@compiles(CreateTable, "mysql")
def _create_table(create: CreateTable, compiler: Any, **options: Any) -> str:
    """Have text compare as on other databases, unless the table says otherwise."""
    statement: str = compiler.visit_create_table(create, **options).rstrip()
    own = any(option.startswith("mysql_") for option in create.element.kwargs)
    return statement if own else statement + TABLE_OPTIONS


def transaction_options(isolation: Isolation, role: Role) -> dict[str, Any]:
    """The execution options of a connection whose transaction has an isolation level."""
    return {"isolation_level": isolation}


@asynccontextmanager
async def schema_lock(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """The connection of the one process that may change the schema; others wait, without limit.

    The lock belongs to the connection, so whoever works on it has the lock, and it ends with it: no
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
    # The lock belongs to the connection and outlives COMMIT; it is released when the connection
    # goes back to the pool, which is right after.
    connection.info[HOLDS_LOCKS] = True
    statement = text("SELECT GET_LOCK(:name, 0)")
    parameters = {"name": _lock_name(connection.engine.url.database, name)}
    return bool(await connection.scalar(statement, parameters))


def abort(connection: Any) -> None:
    """Cut a connection off: whoever waits for its server gets an error at once."""
    connection.abort()


def _lock_name(database: str | None, name: str) -> str:
    # Names are those of the server, ignore case, and have 64 characters at most.
    return hashlib.sha256(f"{database} {name}".encode()).hexdigest()


class Connection(aiomysql.Connection):  # type: ignore[misc]
    """The driver's connection, which by itself would wait for ever for a server that is silent."""

    patience: float | None = None
    """How long a statement may take, in seconds; None: as long as it takes."""
    ping_patience: float | None = None
    """How long the answer to a ping may take."""
    abandon: Callable[[int], None] | None = None
    """Told the connection's number when nobody waits any more for its statement."""

    @property
    def hung_up(self) -> bool:
        """Whether the server, or we, closed the connection."""
        return self._reader is None or self._reader.eof_received or self._writer.is_closing()

    def escape(self, obj: Any) -> Any:
        """Write a value as SQL."""
        # The driver takes a function for it that PyMySQL 1.2 no longer has.
        return f"_binary X'{obj.hex()}'" if isinstance(obj, bytes) else super().escape(obj)

    def abort(self) -> None:
        """Close the connection without a word to the server, which may not listen."""
        if self._writer is not None:
            self._writer.transport.abort()
        self.close()

    async def ensure_closed(self) -> None:
        """Say good-bye to the server, if it is there, and close the connection."""
        try:
            if not self.hung_up:
                await super().ensure_closed()
        finally:
            self.close()

    def _write_bytes(self, data: bytes) -> None:
        if self.hung_up:
            # uvloop would report it by a RuntimeError.
            message = "the server closed this connection"
            raise aiomysql.OperationalError(CR.CR_SERVER_GONE_ERROR, message)
        super()._write_bytes(data)

    async def _read_bytes(self, number: int) -> Any:
        if self._reader is None:
            # Cut off between two parts of an answer.
            raise aiomysql.OperationalError(CR.CR_SERVER_LOST, "we closed this connection")
        return await super()._read_bytes(number)

    async def query(self, sql: str, unbuffered: bool = False) -> Any:
        """Run a statement."""
        try:
            async with asyncio.timeout(self.patience):
                return await super().query(sql, unbuffered)
        except NOBODY_WAITS:
            if self.abandon is not None:
                self.abandon(self.thread_id())
            raise

    async def ping(self, reconnect: bool = False) -> None:
        """Ask the server whether it is there."""
        try:
            async with asyncio.timeout(self.ping_patience):
                await super().ping(reconnect)
        except TimeoutError as error:
            message = "no answer to a ping"
            raise aiomysql.OperationalError(CR.CR_SERVER_LOST, message) from error

    async def commit(self) -> None:
        """Commit the transaction; costs no message where each statement is one."""
        if not self.get_autocommit():
            async with asyncio.timeout(self.patience):
                await super().commit()

    async def rollback(self) -> None:
        """Roll back the transaction."""
        async with asyncio.timeout(self.patience):
            await super().rollback()

    async def _request_authentication(self) -> None:
        # The driver would go on without TLS.
        if self._ssl_context and not self.server_capabilities & CLIENT.SSL:
            raise aiomysql.OperationalError(CR.CR_SSL_CONNECTION_ERROR, "the server has no TLS")
        await super()._request_authentication()


def _connector(settings: KitSettings, role: Role) -> Callable[..., Awaitable[Connection]]:
    abandoned: set[int] = set()
    killers: set[asyncio.Task[None]] = set()

    async def connect(**arguments: Any) -> Connection:
        # The driver encodes passwords in Latin-1; this gives it the bytes of UTF-8.
        password = arguments.get("password", "").encode().decode("latin-1")
        connection = Connection(**{**arguments, "password": password})
        try:
            # The driver's own limit is for half of it; and it forgets a cancellation that comes
            # when the server refuses (https://github.com/python/cpython/issues/86296).
            async with asyncio.timeout(settings.database_connect_timeout):
                await connection._connect()
        except BaseException:
            connection.close()
            raise
        connection.abandon = partial(abandon, arguments)
        connection.ping_patience = settings.database_connect_timeout
        if role != "migrate":
            # The server's timeout, where it has one, comes first and is the better one: it says
            # what happened.
            connection.patience = settings.database_statement_timeout + 1
        return connection

    def abandon(arguments: dict[str, Any], number: int) -> None:
        # The server would run the statement to its end, and keep its locks until then, before it
        # notices that the client is gone.
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
                        with suppress(aiomysql.OperationalError):  # It is gone already.
                            await connection.query(f"KILL {abandoned.pop()}")
                finally:
                    await connection.ensure_closed()
        except UNREACHABLE:
            abandoned.clear()

    return connect


def _set_session(settings: KitSettings, role: Role) -> str:
    """The statements that set up a connection, whatever the server's defaults are.

    Comments as above: /*M! */ is for MariaDB, /*!80000 */ for MySQL.
    """
    lock_timeout = math.ceil(
        DDL_LOCK_TIMEOUT if role == "migrate" else settings.database_lock_timeout
    )
    variables = [
        "time_zone = '+00:00'",
        # A value that does not fit is an error, instead of being cut to fit.
        "sql_mode = 'TRADITIONAL,ONLY_FULL_GROUP_BY'",
        f"innodb_lock_wait_timeout = {lock_timeout}",
        # For locks of tables, taken by changes of the schema. The default is a day, or a year.
        f"lock_wait_timeout = {lock_timeout}",
    ]
    if role != "migrate":
        timeout = settings.database_statement_timeout
        # MySQL has a limit for SELECT only, in milliseconds.
        variables += [
            f"/*M! max_statement_time = {timeout} */ "
            f"/*!80000 max_execution_time = {round(timeout * 1000)} */"
        ]
        if not settings.database_force_rollback and settings.environment != "test":
            # A transaction whose process froze or vanished must not keep its locks. (One that is
            # to be rolled back lives long, and so does one at a breakpoint.) MySQL has no such
            # limit but the one for idle connections, whose default is eight hours.
            variables += [
                f"/*M! idle_transaction_timeout = {math.ceil(timeout)} */ "
                "/*!80000 wait_timeout = 28800 */"
            ]
    statement = f"SET {', '.join(variables)}"
    # The variable for it has changed its name.
    return f"{statement}; SET SESSION TRANSACTION READ ONLY" if role in READERS else statement


def _program_name(settings: KitSettings, role: Role) -> str:
    # Seen in performance_schema.session_connect_attrs. The driver fails on a long one.
    name = f"{settings.title} ({role})".encode()
    return name[:MAX_NAME_BYTES].decode(errors="ignore")


def _translate_tls(url: URL) -> tuple[URL, ssl.SSLContext | None]:
    """Hosting providers write `?ssl-mode=`, as MySQL's own clients have it, and `&ssl-ca=`, the
    file of a certificate authority; the driver wants a context."""
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
        # Encrypted, but to whom is not checked.
        context.verify_mode = ssl.CERT_NONE
    return url, context
