"""Uploads and downloads."""

import pytest
from httpx2 import AsyncClient

URL = "/api/v1/attachments"


@pytest.mark.parametrize("size", [0, 1, 200_000])
async def test_file_comes_back_as_it_was(client: AsyncClient, size: int) -> None:
    content = bytes(index % 251 for index in range(size))
    created = await client.post(URL, files={"file": ("Übung 1.bin", content, "image/png")})
    assert created.status_code == 201
    attachment = created.json()

    described = await client.get(f"{URL}/{attachment['id']}")
    downloaded = await client.get(f"{URL}/{attachment['id']}/content")

    assert described.json() == attachment
    assert (attachment["name"], attachment["size"]) == ("Übung 1.bin", size)
    assert downloaded.content == content
    assert downloaded.headers["Content-Type"] == "image/png"
    assert downloaded.headers["Content-Length"] == str(size)


async def test_file_that_is_too_large_is_refused(client: AsyncClient) -> None:
    content = bytes(1024 * 1024 + 1)

    refused = await client.post(URL, files={"file": ("large", content)})

    assert refused.status_code == 413


async def test_upload_without_a_file_is_refused(client: AsyncClient) -> None:
    refused = await client.post(URL, data={"name": "x"})

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "body.file"
