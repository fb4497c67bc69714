"""Clients that others wrote, unchanged but for their base URL. `make test-clients` tries more of them."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from gateway.mock_backend import MockBackend
from gateway.running import behind, running

CLIENTS = Path(__file__).parents[1] / "clients"


async def said_by(*command: str) -> str:
    """What a client's script says against a running gateway, once it ended well."""
    async with MockBackend() as backend, running(behind("solo", backend.url)) as gateway:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=os.environ
            | {"CLIENT_BASE_URL": f"{gateway.url}/v1", "CLIENT_MODEL": "disrouter", "CLIENT_API_KEY": "sk-of-anybody"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def test_openai_python_works_sync_async_streaming_with_tools_structured_output_and_responses() -> None:
    assert "19 uses" in await said_by(sys.executable, "-I", str(CLIENTS / "openai_client.py"))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_works_whole_streamed_compressed_chunked_and_by_http_1_0() -> None:
    assert "8 uses" in await said_by("bash", str(CLIENTS / "curl_client.sh"))
