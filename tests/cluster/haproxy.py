"""HAProxy: before the nodes of a cluster, and before the instances of a service."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.ports import free_port
from faults.waiting import wait_until

from cluster.processes import spawn

DEFAULTS = """
defaults
    timeout connect 1s
    timeout check 1s
    timeout client 10m
    timeout server 10m
"""
# A node says by HTTP which role it has. Who is connected to one that has it no more is sent away.
NODES = """
listen {role}
    mode tcp
    bind 127.0.0.1:{port}
    option httpchk HEAD /{role}
    http-check expect status 200
    default-server inter 1s fall 2 rise 1 on-marked-down shutdown-sessions
"""
INSTANCES = """
listen service
    mode http
    bind 127.0.0.1:{port}
    option httpchk GET /health/ready
    http-check expect status 200
    default-server inter 200ms fall 1 rise 2
"""


class HAProxy:
    """A running proxy."""

    def __init__(self, directory: Path, ports: dict[str, int]) -> None:
        self.ports = ports
        """Where it listens."""
        self._directory = directory
        self.process: subprocess.Popen[bytes]

    @property
    def port(self) -> int:
        """Where it listens, if that is one place only."""
        (port,) = self.ports.values()
        return port

    @property
    def output(self) -> str:
        """What it has logged."""
        return (self._directory / "log").read_text(errors="replace")

    def kill(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)


@contextmanager
def before_nodes(program: str, directory: Path, nodes: dict[int, int]) -> Iterator[HAProxy]:
    """A proxy with a port for the `primary` and one for each `replica`, before servers with these
    ports and those by which they tell their role."""
    ports = {"primary": free_port(), "replica": free_port()}
    text = DEFAULTS
    for role, port in ports.items():
        text += NODES.format(role=role, port=port)
        for number, (server, rest) in enumerate(nodes.items(), 1):
            text += f"    server node{number} 127.0.0.1:{server} check port {rest}\n"
    with _running(program, directory, text, ports) as proxy:
        yield proxy


@contextmanager
def before_instances(program: str, directory: Path, ports: list[int]) -> Iterator[HAProxy]:
    """A proxy before instances of a service that listen on these ports."""
    port = free_port()
    text = DEFAULTS + INSTANCES.format(port=port)
    for number, instance in enumerate(ports, 1):
        text += f"    server instance{number} 127.0.0.1:{instance} check\n"
    with _running(program, directory, text, {"service": port}) as proxy:
        yield proxy


@contextmanager
def _running(program: str, directory: Path, text: str, ports: dict[str, int]) -> Iterator[HAProxy]:
    directory.mkdir()
    (directory / "haproxy.cfg").write_text(text)
    proxy = HAProxy(directory, ports)
    proxy.process = spawn([program, "-db", "-f", "haproxy.cfg"], directory, {})
    try:
        wait_until(lambda: proxy.process.poll() is not None or _listens(ports), 10, "HAProxy")
        assert proxy.process.poll() is None, proxy.output
        yield proxy
    finally:
        if proxy.process.poll() is None:
            proxy.kill()


def _listens(ports: dict[str, int]) -> bool:
    listening = Path("/proc/net/tcp").read_text()
    return all(f"0100007F:{port:04X} 00000000:0000 0A" in listening for port in ports.values())
