"""What holds for every test.

Each request that any lab got is in Proxmox's schema, or was sent wrong on purpose; and what a command that ran in this
process did to the root logger ends with its test: its handler writes to a stream that pytest has closed by then.
"""

import logging
from collections.abc import Iterator
from types import TracebackType

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as property_settings

from proxmox_mcp.lab import Lab

# A machine that is busy is no failure: hypothesis would refuse an example that took 200 ms.
property_settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
property_settings.load_profile("busy")

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


@pytest.fixture(autouse=True)
def logging_ends_with_the_test() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    yield
    for handler in [each for each in root.handlers if not type(each).__module__.startswith("_pytest")]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
