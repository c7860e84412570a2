from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, TCPConnector

from proxmox_mcp.lab import Account, Lab, LabOptions


@dataclass
class Answer:
    status: int
    reason: str
    content_type: str
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    @property
    def data(self) -> Any:
        return self.body["data"]


class Client:
    """Asks the lab without any of our own client code."""

    def __init__(self, session: ClientSession, lab: Lab) -> None:
        self.session = session
        self.lab = lab

    async def __call__(
        self,
        method: str,
        path: str,
        /,
        *,
        who: str | None = "root@pam!full",
        login: str | None = None,
        host: str = "",
        **params: Any,
    ) -> Answer:
        server = (self.lab.hosts | self.lab.pbs_hosts)[host] if host else next(iter(self.lab.hosts.values()))
        headers = {"Authorization": login} if login else self._login(who, pbs=host in self.lab.pbs_hosts)
        clean = [(key.replace("__", "-"), value) for key, value in params.items()]
        pairs = [(key, str(one)) for key, value in clean for one in (value if isinstance(value, list) else [value])]
        kind = "params" if method in ("GET", "DELETE") else "data"
        sent: Any = {kind: pairs}
        async with self.session.request(method, f"{server.url}/api2/json{path}", headers=headers, **sent) as answer:
            return await _read(answer)

    def _login(self, who: str | None, *, pbs: bool) -> dict[str, str]:
        if who is None:
            return {}
        account: Account = self.lab.account(who)
        return {"Authorization": account.pbs_header if pbs else account.header}

    async def get(self, path: str, **more: Any) -> Any:
        answer = await self("GET", path, **more)
        assert answer.status == 200, (path, answer)
        return answer.data

    async def task(self, method: str, path: str, **more: Any) -> str:
        """Start a task and give its exit status."""
        answer = await self(method, path, **more)
        assert answer.status == 200, (path, answer)
        await self.settle()
        node = answer.data.split(":")[1]
        status = await self.get(f"/nodes/{node}/tasks/{answer.data}/status", host=more.get("host", ""))
        assert status["status"] == "stopped"
        return str(status["exitstatus"])

    async def listens(self, host: str, *, yes: bool = True) -> None:
        """Wait until a host's API server listens, or no longer does."""
        server = (self.lab.hosts | self.lab.pbs_hosts)[host]
        async with asyncio.timeout(15):
            while server.listening != yes:
                await asyncio.sleep(0.01)

    async def settle(self) -> None:
        """Wait until no worker runs."""
        every = [self.lab.world.tasks, *(host.tasks for host in self.lab.world.pbs.values())]
        while any(tasks.running for tasks in every):
            await asyncio.sleep(0.01)


async def _read(answer: ClientResponse) -> Answer:
    text = await answer.text()
    return Answer(answer.status, answer.reason or "", answer.headers.get("Content-Type", ""), text)


MakeLab = Callable[..., Awaitable[Client]]

FAST: dict[str, Any] = {
    "speed": 200,
    "pvestatd_interval": 0,
    "auth_delay": 0.01,
    "dead_node_delay": 0.01,
    "proxy_timeout": 0.2,
    "hang_timeout": 0.5,
}


@pytest.fixture
async def make_lab() -> AsyncIterator[MakeLab]:
    opened: list[tuple[Lab, ClientSession]] = []

    async def make(**options: Any) -> Client:
        lab = await Lab(LabOptions(**(FAST | options))).__aenter__()
        session = ClientSession(connector=TCPConnector(ssl=False, force_close=True))
        opened.append((lab, session))
        return Client(session, lab)

    yield make
    for lab, session in opened:
        await session.close()
        await lab.__aexit__(None, None, None)


@pytest.fixture
async def api(make_lab: MakeLab) -> Client:
    return await make_lab()
