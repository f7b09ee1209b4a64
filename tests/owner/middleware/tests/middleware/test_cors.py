"""Origins and hosts are settings, closed by default."""

from httpx2 import AsyncClient

from tests.kit.fixtures import client_of, make_settings, running_app

URL = "/api/v1/notes"
ORIGIN = {"Origin": "https://app.example.com"}
PREFLIGHT = {**ORIGIN, "Access-Control-Request-Method": "POST"}


async def test_no_origin_is_allowed_by_default(client: AsyncClient) -> None:
    response = await client.get(URL, headers=ORIGIN)

    assert response.status_code == 200
    assert "Access-Control-Allow-Origin" not in response.headers


async def test_origin_of_the_settings_is_allowed(own_url: str) -> None:
    settings = make_settings(own_url, cors_origins="https://app.example.com")
    async with running_app(settings) as app, client_of(app) as client:
        preflight = await client.options(URL, headers=PREFLIGHT)
        responses = [
            await client.get(URL, headers=ORIGIN),
            await client.get("/nowhere", headers=ORIGIN),
            await client.post(URL, json={}, headers=ORIGIN),
        ]
        app.state.maintenance = True
        responses.append(await client.get(URL, headers=ORIGIN))

    assert preflight.status_code == 200
    assert [response.status_code for response in responses] == [200, 404, 422, 503]
    for response in [preflight, *responses]:
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example.com"


async def test_only_hosts_of_the_settings_are_served(own_url: str) -> None:
    settings = make_settings(own_url, allowed_hosts="api.example.com")
    async with running_app(settings) as app, client_of(app) as client:
        refused = await client.get(URL)
        served = await client.get(URL, headers={"Host": "api.example.com"})

    assert (refused.status_code, served.status_code) == (400, 200)
    assert "X-Request-ID" in refused.headers
