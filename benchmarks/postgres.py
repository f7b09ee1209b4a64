"""Runs the PostgreSQL of a rendered service's tests, with a database for each contender.

It is run by the service's own Python, in its folder: `python postgres.py NAME...`. It prints where
everything is, as JSON, and ends when its standard input does.
"""

import asyncio
import json
import sys

from app.kit.db import schema
from app.settings import Settings
from tests.kit.server import DatabaseServer, execute, postgres_server

ROWS = (
    "INSERT INTO users (username, email, balance, created_at) "
    "SELECT 'user-' || n, 'user-' || n || '@example.org', 1000000, now() "
    "FROM generate_series(1, 1000) n",
    "INSERT INTO items (name, description, price, created_at, user_id) "
    "SELECT 'Item ' || n, 'What there is to say about it', n % 1000 + 0.95, now(), n % 1000 + 1 "
    "FROM generate_series(1, 10000) n",
    "VACUUM ANALYZE",
)

with postgres_server() as postgres:
    # A table of one contender must not be vacuumed while another one is measured.
    execute(postgres.url(), "ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()")
    server = DatabaseServer(postgres.url())
    url = server.create_database("seeded")
    asyncio.run(schema.build(Settings(_env_file=None, database_url=url)))
    execute(url, *ROWS)
    urls = {name: server.clone_database(url, name) for name in sys.argv[1:]}
    pid = int((postgres.data / "postmaster.pid").read_text().split()[0])
    print(json.dumps({"pid": pid, "urls": urls}), flush=True)
    sys.stdin.read()
