"""No test depends on how fast the machine is, and none waits for what it does not need."""

import asyncio
from collections.abc import Iterator

import pytest
import uvicorn.server

from vedette.rpc import client as rpc_client
from vedette.rpc import http_client


class _Hurried:
    """asyncio as uvicorn sees it here: its pauses at the end, two tenths of a second for each server, are short."""

    def __getattr__(self, name: str) -> object:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 50)


@pytest.fixture(scope="session", autouse=True)
def _servers_end_at_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uvicorn.server, "asyncio", _Hurried())
        yield


@pytest.fixture(scope="session", autouse=True)
def _nobody_is_given_up_who_is_only_slow() -> Iterator[None]:
    """Both ends of a call are in this process: where it stands still for a second, nobody has failed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rpc_client, "PROBE_TIMEOUT", 20.0)
        patch.setattr(http_client, "CONNECT_PATIENCE", 20.0)
        yield
