"""One n8n for the test run, with credentials and all workflows in it; a lab, a broker and our server for each test."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.e2e.n8n.n8n import NODE, N8n
from tests.e2e.n8n.stage import WORKFLOWS, Ports, Stage, staged, workflow


@pytest.fixture(scope="session")
def ports() -> Ports:
    return Ports()


@pytest.fixture(scope="session")
def n8n(tmp_path_factory: pytest.TempPathFactory, ports: Ports) -> Iterator[N8n]:
    if not NODE.exists():
        pytest.exit(f"There is no n8n: run scripts/install-n8n ({NODE} is missing).", 2)
    folder = tmp_path_factory.mktemp("n8n")
    one = N8n(folder).start()
    try:
        asyncio.run(furnish(one, ports, folder))
        yield one
    finally:
        one.stop()


async def furnish(n8n: N8n, ports: Ports, folder: Path) -> None:
    for name, (kind, data) in ports.credentials().items():
        await n8n.credential(name, kind, data)
    files = folder / "workflows"
    files.mkdir()
    for path in sorted(WORKFLOWS.glob("*.json")):
        (files / path.name).write_text(json.dumps(workflow(path.stem, ports)), encoding="utf-8")
    said = await asyncio.to_thread(n8n.cli, "import:workflow", "--separate", f"--input={files}")
    assert "Successfully imported" in said, said


@pytest.fixture
async def stage(tmp_path: Path, ports: Ports, n8n: N8n) -> AsyncIterator[Stage]:
    async with staged(tmp_path, ports, n8n) as one:
        yield one
