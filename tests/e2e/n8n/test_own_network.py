"""n8n in a network of its own, as Docker gives it one: what `proxmox-mcp check` prints for it is what works there.

A network namespace with a pair of virtual interfaces and a line in /etc/hosts is what `docker run --add-host
host.docker.internal:host-gateway` makes. That needs root, and no more than that.
"""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.n8n.conftest import furnish
from tests.e2e.n8n.n8n import N8n
from tests.e2e.n8n.stage import Ports, staged
from tests.e2e.n8n.test_guest_down import CONTAINER, DOWN, quick
from tests.e2e.n8n.test_triage import crashed
from tests.support.processes import run

NAME = f"n8n-{os.getpid()}"
GATEWAY, INSIDE = "198.18.77.1", "198.18.77.2"  # of the range for tests of networks (RFC 2544)
DOCKER = "host.docker.internal"
ETC = Path("/etc/netns") / NAME

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("ip"), reason="a network namespace needs root and iproute2"
)


@dataclass(frozen=True)
class Network:
    """Entered by `within`."""

    within: tuple[str, ...] = ("ip", "netns", "exec", NAME)


def ip(*words: str) -> None:
    done = subprocess.run(("ip", *words), capture_output=True, text=True, check=False, timeout=20)
    if done.returncode:
        pytest.skip(f"ip {' '.join(words)}: {done.stderr.strip()}")


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    outer, inner = f"n8o{os.getpid() % 100_000}", f"n8i{os.getpid() % 100_000}"
    ip("netns", "add", NAME)
    try:
        ETC.mkdir(parents=True)
        (ETC / "hosts").write_text(f"127.0.0.1 localhost\n{GATEWAY} {DOCKER}\n", encoding="utf-8")
        ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", NAME)
        ip("addr", "add", f"{GATEWAY}/30", "dev", outer)
        ip("link", "set", outer, "up")
        for words in (("addr", "add", f"{INSIDE}/30", "dev", inner), ("link", "set", inner, "up"),
                      ("link", "set", "lo", "up")):  # fmt: skip
            ip("-n", NAME, *words)
        yield Network()
    finally:
        subprocess.run(("ip", "netns", "del", NAME), check=False, timeout=20)
        shutil.rmtree(ETC, ignore_errors=True)


@pytest.fixture(scope="module")
def apart() -> Ports:
    return Ports(host=DOCKER)


@pytest.fixture(scope="module")
def contained(tmp_path_factory: pytest.TempPathFactory, network: Network, apart: Ports) -> Iterator[N8n]:
    folder = tmp_path_factory.mktemp("contained")
    one = N8n(folder, INSIDE, network.within).start()
    try:
        asyncio.run(furnish(one, apart, folder))
        yield one
    finally:
        one.stop()


async def test_what_check_prints_is_what_makes_it_work(tmp_path: Path, apart: Ports, contained: N8n) -> None:
    reachable = {"MCP_HTTP_HOST": "0.0.0.0", "MCP_HTTP_PORT": str(apart.mcp)}  # noqa: S104 -- what is tested
    broker = (f"listener {apart.mqtt} {GATEWAY}",)
    async with staged(tmp_path / "lacking", apart, contained, broker=broker, **reachable) as stage:
        said = await asyncio.to_thread(run, "proxmox-mcp", "check", env=stage.server.env, cwd=tmp_path, seconds=120)
        (url,) = re.findall(rf"http://{DOCKER}\S*", said.stdout)
        assert url == apart.url
        assert f"MCP_ALLOWED_HOSTS does not name it yet: add {DOCKER}" in " ".join(said.stdout.split())
        await quick(stage, autoTag="monitoring", mcpUrl=url)
        async with stage.published(DOWN):
            await crashed(stage, CONTAINER)
            assert "did not answer" in (await stage.told("left alone"))["message"]
            assert stage.posts("*/status/*") == 0

    cured = {**reachable, "MCP_ALLOWED_HOSTS": DOCKER}
    async with staged(tmp_path / "cured", apart, contained, broker=broker, **cured) as stage, stage.published(DOWN):
        await crashed(stage, CONTAINER)
        await stage.told("(grafana) was started and runs")
        assert stage.posts(f"*/lxc/{CONTAINER}/status/start") == 1
