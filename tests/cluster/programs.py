"""The programs that make a cluster: found here, or fetched without changing this machine."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uv
from services import environment

UNPACK = Path(__file__).with_name("unpack.sh")
PATRONI = ["patroni[etcd3]>=4.1,<5", "psycopg[binary]>=3.2,<4"]
# Not the home of whoever runs the tests, where the user of the servers may not look.
SYSTEM_PYTHON = Path("/usr/bin/python3")


@contextmanager
def open_directory(prefix: str) -> Iterator[Path]:
    """A temporary directory into which everybody may look; in memory, if that is possible."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else Path("/tmp")
    with tempfile.TemporaryDirectory(
        prefix=prefix, dir=place, ignore_cleanup_errors=True
    ) as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


class Programs:
    """Where HAProxy, etcd and Patroni are."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def haproxy(self) -> str:
        """HAProxy."""
        return self._debian("haproxy")

    @property
    def etcd(self) -> str:
        """The store by which the nodes agree on a leader."""
        return self._debian("etcd")

    @property
    def patroni(self) -> str:
        """What makes a PostgreSQL server a node of a cluster."""
        program = self._directory / "patroni/bin/patroni"
        if not program.exists():
            venv = program.parents[1]
            uv_program = uv.find_uv_bin()
            python = f"--python={SYSTEM_PYTHON}"
            subprocess.run([uv_program, "venv", "-q", python, venv], env=environment(), check=True)
            install = [uv_program, "pip", "install", "-q", f"--python={venv}/bin/python", *PATRONI]
            subprocess.run(install, env=environment(UV_LINK_MODE="copy"), check=True)
        return str(program)

    def _debian(self, name: str) -> str:
        found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:{self._directory}/bin")
        if found is None:
            subprocess.run([UNPACK, self._directory], check=True, stdout=subprocess.DEVNULL)
            found = str(self._directory / "bin" / name)
        return found
