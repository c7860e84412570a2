"""What holds for every test: each request that any lab got is in Proxmox's schema, or was sent wrong on purpose."""

from collections.abc import Iterator
from types import TracebackType

import pytest

from proxmox_mcp.lab import Lab

ON_PURPOSE = "tests/lab/"  # these ask for nonsense, and look at what the lab says to it


@pytest.fixture(autouse=True)
def every_request_is_in_the_schema(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    seen: list[str] = []
    close = Lab.__aexit__

    async def closing(
        self: Lab, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seen.extend(self.violations)
        await close(self, kind, error, trace)

    monkeypatch.setattr(Lab, "__aexit__", closing)
    yield
    if ON_PURPOSE not in request.node.nodeid:
        assert seen == [], "requests that are not in Proxmox's schema"
