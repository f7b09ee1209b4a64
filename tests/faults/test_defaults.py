"""What a service does that nobody has configured."""

from typing import Any

import httpx2
import pytest

from faults.world import World

ALL = pytest.mark.parametrize("kind", ["postgresql", "mysql", "sqlite"], indirect=True)

# They cost nothing, and a JSON API needs nothing that they forbid.
SECURITY_HEADERS = {"x-content-type-options": "nosniff"}


def send(world: World, method: str, path: str, **headers: str) -> Any:
    """Send a request and give the answer."""
    with httpx2.Client(base_url=f"http://127.0.0.1:{world.service.port}", trust_env=False) as http:
        return http.request(method, path, headers=headers)


def test_security_defaults(world: World) -> None:
    world.start()
    verdict = world.verdict
    for path in ("/docs", "/redoc", "/openapi.json"):
        status = send(world, "GET", path).status_code
        verdict.expect(status == 404, f"{path} is {status} in prod")
    origin = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for method in ("GET", "OPTIONS"):
        answer = send(world, method, "/api/v1/users", **origin)
        opened = [name for name in answer.headers if name.startswith("access-control-")]
        verdict.expect(not opened, f"CORS is open to {method}: {opened}")
    for method in ("TRACE", "TRACK", "CONNECT", "PROPFIND"):
        answer = send(world, method, "/api/v1/users", Cookie="secret=1")
        verdict.expect(answer.status_code in (400, 405, 501), f"{method}: {answer.status_code}")
        verdict.expect("secret" not in answer.text, f"{method} echoes the request")
    for path in ("/api/v1/users", "/health/live", "/nowhere", "/api/v1/users/0"):
        answer = send(world, "GET", path)
        verdict.expect("server" not in answer.headers, f"{path} names the server")
        verdict.expect("x-powered-by" not in answer.headers, f"{path} names the framework")
        for name, value in SECURITY_HEADERS.items():
            found = answer.headers.get(name)
            verdict.expect(found == value, f"{path}: {name} is {found}, not {value}")
    verdict.note("docs off, CORS closed, TRACE refused, no banner, headers")


def test_docs_when_asked_for(world: World) -> None:
    world.start(DOCS="true")
    for path in ("/docs", "/openapi.json"):
        status = send(world, "GET", path).status_code
        world.verdict.expect(status == 200, f"{path} is {status} with DOCS=true")


def test_dependencies_are_audited(world: World, projects: Any) -> None:
    """The CI of a rendered service looks for known vulnerabilities in what it installs."""
    workflow = (projects["postgresql"] / ".github/workflows/ci.yml").read_text()
    world.verdict.expect("audit" in workflow, "the rendered CI has no audit of dependencies")
