"""Kinds of Oracle's errors, by code.

ORA codes are the server's (https://docs.oracle.com/en/error-help/db/), DPY codes the driver's
(https://python-oracledb.readthedocs.io/en/latest/user_guide/exception_handling.html).
"""

import re

import oracledb
from sqlalchemy import Index
from sqlalchemy.schema import ColumnCollectionConstraint

from app.kit.db.base import Base
from app.kit.db.error_kinds import ErrorKind

CODES = {
    ErrorKind.UNIQUE: ["ORA-00001"],
    ErrorKind.FOREIGN_KEY: ["ORA-02291", "ORA-02292"],
    ErrorKind.INVALID: [
        "ORA-01400",  # NULL, or the empty string, into a NOT NULL column
        "ORA-01407",  # the same, in an UPDATE
        "ORA-01426",  # numeric overflow
        "ORA-01438",  # more digits than the column has
        "ORA-01461",  # text longer than VARCHAR2 can be
        "ORA-01722",  # text that is no number
        "ORA-02290",  # check constraint
        "ORA-12899",  # text longer than its column
        "DPY-4003",  # a number that Oracle cannot represent
    ],
    ErrorKind.SERIALIZATION: [
        "ORA-00060",  # deadlock
        "ORA-01555",  # snapshot too old
        "ORA-08177",  # cannot serialize access
    ],
    ErrorKind.DISCONNECTED: [
        "ORA-00028",  # session killed
        "ORA-01012",  # not logged on
        "ORA-01033",  # start-up or shutdown in progress
        "ORA-01034",  # not available
        "ORA-01089",  # immediate shutdown in progress
        "ORA-01092",  # instance terminated
        "ORA-02396",  # idle for too long
        "ORA-03113",  # end of file on the communication channel
        "ORA-03114",  # not connected
        "ORA-03135",  # connection lost contact
        "ORA-12170",  # connect timeout
        "ORA-12514",  # the listener does not know the service, yet
        "ORA-12528",  # the listener's instances take no connections, yet
        "ORA-12537",  # connection closed
        "ORA-12541",  # no listener
        "ORA-12547",  # lost contact
        "DPY-1001",  # not connected
        "DPY-4011",  # the database or the network closed the connection
        "DPY-4033",  # idle for too long
        "DPY-6000",  # the listener refused the connection
        "DPY-6001",  # the listener does not know the service, yet
        "DPY-6003",  # the listener does not know the SID, yet
        "DPY-6004",  # the proxy failed
        "DPY-6005",  # cannot connect
    ],
    ErrorKind.UNAVAILABLE: [
        "ORA-01017",  # wrong user or password
        "ORA-01045",  # the user may not create a session
        "ORA-06550",  # the only PL/SQL here calls DBMS_LOCK: the user may not use it
        "ORA-28000",  # account locked
        "ORA-28001",  # password expired
        "DPY-4000",  # no such name in tnsnames.ora
        "DPY-4001",  # no user or password
        "DPY-4017",  # invalid connect descriptor
        "DPY-4018",  # invalid connect string
        "DPY-4026",  # no tnsnames.ora
        "DPY-4027",  # no directory to look for one
        "DPY-6002",  # the certificate is not the server's
        "DPY-6006",
        "DPY-6008",
    ],
    ErrorKind.RESOURCE_EXHAUSTED: [
        "ORA-00018",  # sessions
        "ORA-00020",  # processes
        "ORA-00054",  # lock, NOWAIT or DDL
        "ORA-00257",  # space for the archived redo log
        "ORA-01536",  # quota of the user
        "ORA-01652",  # temporary space
        "ORA-01653",  # space for a table
        "ORA-01654",  # space for an index
        "ORA-01691",  # space for a LOB
        "ORA-02391",  # sessions of the user
        "ORA-04031",  # shared memory
        "ORA-04036",  # memory of processes
        "ORA-12516",  # the listener finds no free handler
        "ORA-12519",
        "ORA-12520",
        "ORA-30006",  # lock, after WAIT
        "ORA-30036",  # undo space
    ],
    ErrorKind.READ_ONLY: [
        "ORA-01456",  # in a transaction that is READ ONLY
        "ORA-16000",  # the database is open for reading: a standby
        "ORA-28194",  # the user or session is read-only
    ],
    ErrorKind.TIMEOUT: ["ORA-01013", "DPY-4024"],
    ErrorKind.SCHEMA: ["ORA-00904", "ORA-00942"],
}
KINDS = {code: kind for kind, codes in CODES.items() for code in codes}


def classify_driver_error(error: BaseException) -> ErrorKind | None:
    """The kind of a driver's error; None for other and unknown errors."""
    if isinstance(error, oracledb.Error):
        return KINDS.get(_code(error))
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        return ErrorKind.DISCONNECTED
    if isinstance(error, OverflowError | UnicodeEncodeError):
        return ErrorKind.INVALID
    return None


def violated_columns(error: BaseException) -> list[str]:
    """The `table.column` names of a violated unique constraint or index; empty if unknown."""
    match = re.match(r"ORA-00001: .*?\((?:[^.()]+\.)?([^.()]+)\)", str(error))
    if match is None or not isinstance(error, oracledb.Error):
        return []
    name = match[1].lower()
    for table in Base.metadata.tables.values():
        for constraint in (*table.constraints, *table.indexes):
            if (
                isinstance(constraint, ColumnCollectionConstraint | Index)
                and str(constraint.name).lower() == name
            ):
                return [f"{table.name}.{column.name}" for column in constraint.columns]
    return []


def _code(error: oracledb.Error) -> str:
    details = error.args[0] if error.args else None
    return str(getattr(details, "full_code", ""))
