"""Kinds of the errors of MySQL and MariaDB, by number.

The numbers are those of https://dev.mysql.com/doc/mysql-errors/9.7/en/server-error-reference.html
and https://mariadb.com/kb/en/mariadb-error-code-reference/; those from 2000 on are the client's.
"""

import re

from pymysql.err import InterfaceError, InternalError, MySQLError
from sqlalchemy import Index, Table
from sqlalchemy.schema import ColumnCollectionConstraint

from app.kit.db.base import Base
from app.kit.db.error_kinds import ErrorKind

SP_DOES_NOT_EXIST = 1305

KINDS = {
    ErrorKind.UNIQUE: {
        1062,  # duplicate entry
        1586,  # the same, with the name of the key
    },
    ErrorKind.FOREIGN_KEY: {1216, 1217, 1451, 1452},
    ErrorKind.INVALID: {
        1048,  # column cannot be null
        1153,  # packet larger than max_allowed_packet
        1264,  # out of range
        1265,  # data truncated
        1292,  # incorrect value of a type
        1300,  # not in the encoding
        1364,  # no default value
        1366,  # incorrect value of a column
        1406,  # too long
        1411,  # incorrect value of a function
        1690,  # out of range in an expression
        3140,  # not JSON
        3819,  # check constraint, MySQL
        4025,  # check constraint, MariaDB
    },
    ErrorKind.SERIALIZATION: {
        1020,  # the row has changed since it was read
        1213,  # deadlock
        1412,  # the table's definition has changed
        1615,  # a prepared statement needs to be prepared again
        3101,  # conflict with another member of the group
    },
    ErrorKind.DISCONNECTED: {
        *(1053, 1077, 1079, 1080),  # shutdown
        *(1152, 1158, 1159, 1160, 1161),  # network
        1927,  # killed, MariaDB
        3169,  # killed, MySQL
        4031,  # idle for too long
        *(2002, 2003, 2005, 2006, 2012, 2013, 2014, 2055),
    },
    ErrorKind.UNAVAILABLE: {
        *(1044, 1045, 1142, 1143, 1227, 1370, 1698),  # access denied
        1049,  # no such database
        1129,  # the client's host is blocked, after many errors
        1130,  # the client's host is not allowed
        1820,  # the password must be changed
        1862,  # the password has expired
        *(1251, 2026, 2059, 2061),  # authentication, TLS
        *(3118, 4151),  # account locked
        *(1030, 1034, 1194, 1195),  # storage
        1047,  # Galera: the server is not in sync
    },
    ErrorKind.RESOURCE_EXHAUSTED: {
        *(1040, 1203, 1226),  # connections: of the server, of the user, per hour
        *(1037, 1038, 1041, 1135),  # memory, threads
        1021,  # disk full
        1114,  # table full
        1205,  # lock wait timeout; only the statement was rolled back
        1206,  # too many locks
        3572,  # lock not available, NOWAIT
    },
    ErrorKind.READ_ONLY: {1036, 1290, 1792, 1836},
    ErrorKind.TIMEOUT: {
        1317,  # interrupted
        1969,  # max_statement_time, MariaDB
        3024,  # max_execution_time, MySQL
    },
    ErrorKind.SCHEMA: {1054, 1146},
}
KIND_BY_CODE = {code: kind for kind, codes in KINDS.items() for code in codes}


def classify_driver_error(error: BaseException) -> ErrorKind | None:
    """The kind of a driver's error; None for other and unknown errors."""
    if isinstance(error, MySQLError):
        code = error.args[0] if error.args else None
        if code == SP_DOES_NOT_EXIST and "sa_savepoint_" in str(error.args[1]):
            # A deadlock rolled back the transaction with its savepoints, and then SQLAlchemy tried
            # to roll back to one.
            return ErrorKind.SERIALIZATION
        if code in KIND_BY_CODE:
            return KIND_BY_CODE[code]
        # The connection is closed or out of sync.
        no_code = not isinstance(code, int) or code == 0
        return ErrorKind.DISCONNECTED if isinstance(error, _BROKEN) and no_code else None
    if isinstance(error, UnicodeEncodeError):
        return ErrorKind.INVALID
    if isinstance(error, TimeoutError):
        return ErrorKind.TIMEOUT
    return ErrorKind.DISCONNECTED if isinstance(error, OSError) else None


_BROKEN = (InterfaceError, InternalError)


def violated_columns(error: BaseException) -> list[str]:
    """The `table.column` names of a violated unique constraint or index; empty if unknown."""
    if not isinstance(error, MySQLError) or KIND_BY_CODE.get(error.args[0]) is not ErrorKind.UNIQUE:
        return []
    # The name comes last, on MySQL after the table's: Duplicate entry 'x' for key 'users.uq_email'
    match = re.search(r"'(?:([^'.]+)\.)?([^'.]+)'\Z", str(error.args[1]))
    if match is None:
        return []
    table_name, name = match.groups()
    for table in Base.metadata.tables.values():
        if table_name in (None, table.name) and (columns := _columns_of(table, name)):
            return [f"{table.name}.{column}" for column in columns]
    return []


def _columns_of(table: Table, name: str) -> list[str]:
    for constraint in (*table.constraints, *table.indexes):
        if isinstance(constraint, ColumnCollectionConstraint | Index) and constraint.name == name:
            return [column.name for column in constraint.columns]
    return []
