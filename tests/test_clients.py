"""Clients that are generated from the OpenAPI document compile, and do what a person expects.

The generators are pinned, in `clients/package.json` and here.
"""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from interpreters import VERSIONS, nearest
from projects import copy
from questionnaire import ROOT
from services import environment, shell

CLIENTS = ROOT / "tests" / "clients"
GENERATOR = "openapi-python-client==0.29.1"
# What the generated package imports, and what checks it.
PACKAGES = ["attrs>=25,<27", "httpx>=0.28,<1", "mypy>=2.0.0,<3"]
START_SECONDS = 60


@pytest.fixture(scope="module")
def url(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running service."""
    project = copy(template, tmp_path_factory.mktemp("service") / "service", {})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    variables = environment(UV_PYTHON=str(nearest(VERSIONS[0])[1]), PORT=port)
    shell("uv sync --quiet --no-dev", project, variables)
    with subprocess.Popen(
        [project / ".venv/bin/python", "-m", "app"],
        cwd=project,
        env=variables,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            wait_until_listening(f"http://127.0.0.1:{port}/health/ready", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.communicate(timeout=20)


def wait_until_listening(url: str, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    process.kill()
    raise AssertionError(process.communicate()[1])


@pytest.fixture
def document(url: str, tmp_path: Path) -> Path:
    """The service's OpenAPI document."""
    with urlopen(f"{url}/openapi.json") as response:
        path = tmp_path / "openapi.json"
        path.write_bytes(response.read())
    return path


def test_python_client_has_types_and_works(url: str, document: Path) -> None:
    folder = document.parent
    shutil.copy(CLIENTS / "use.py", folder)
    variables = environment(UV_PYTHON=str(nearest(VERSIONS[0])[1]))
    generate = "generate --meta=none --output-path=service_client --path=openapi.json"
    shell(
        f"uv tool run --quiet --from '{GENERATOR}' openapi-python-client {generate} "
        "--fail-on-warning",
        folder,
        variables,
    )
    packages = " ".join(f"--with='{package}'" for package in PACKAGES)
    run = f"uv run --quiet --no-project {packages}"
    # Silent: the generator's own modules have errors of their own.
    shell(f"{run} mypy --strict --follow-imports=silent use.py", folder, variables)
    shell(f"{run} python use.py {url}", folder, variables)


def test_typescript_client_compiles_and_works(url: str, document: Path) -> None:
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("there is no npm here: the TypeScript client is not tried")
    folder = document.parent
    for name in ("package.json", "tsconfig.json", "use.ts"):
        shutil.copy(CLIENTS / name, folder)
    install = "npm install --no-audit --no-fund --no-package-lock --prefer-offline --loglevel=error"
    shell(install, folder, environment())
    shell("npx --no-install openapi-typescript openapi.json -o schema.d.ts", folder, environment())
    shell("npx --no-install tsc", folder, environment())
    shell(f"node use.js {url}", folder, environment())
