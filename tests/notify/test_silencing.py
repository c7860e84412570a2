"""`proxmox-mcp silence` and `incidents` beside running notifiers, against a real service and broker."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.settings import load
from proxmox_mcp import cli
from proxmox_mcp.silencing import where
from tests.notify.making import event
from tests.notify.parts import Service, running, until
from tests.support.mosquitto import Mosquitto

SITE = {"PROXMOX_HOST": "h", "PROXMOX_USER": "a@pve!b", "PROXMOX_TOKEN_VALUE": "c", "PROXMOX_SITE": "lab"}
TWO = {"PVE_CLUSTERS": "lab,home"} | {
    f"{site}_{key}": value
    for site in ("LAB", "HOME")
    for key, value in {"HOSTS": "h", "USER": "a@pve", "TOKEN_NAME": "b", "TOKEN_VALUE": "c"}.items()
}

MIXED = {"LAB_CONFIGURATION": "MIXED", "PVE_CLUSTER_NAME": "lab", "PVE_CLUSTER_SUBNODES": "pve2", "PVE2_HOST": "h2"} | {
    "PVE_CLUSTER_PRIMARY_HOST": "h", "PVE_CLUSTER_PRIMARY_USER": "a@pve", "PVE_CLUSTER_PRIMARY_TOKEN_NAME": "b",
    "PVE_CLUSTER_PRIMARY_TOKEN_VALUE": "c", "PBS_NODES": "pbs1", "PBS1_HOST": "h3", "PBS1_USER": "a@pbs",
    "PBS1_TOKEN_NAME": "b", "PBS1_TOKEN_VALUE": "c",
}  # fmt: skip


@dataclass
class Kept:
    """Notifiers that run on `folder`, and the command line beside them."""

    journal: Journal
    service: Service
    capsys: pytest.CaptureFixture[str]

    async def run(self, *words: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(cli.main, words)
        told = self.capsys.readouterr()
        return code, told.out, told.err

    async def happens(self, kind: str, **fields: object) -> None:
        await self.journal.commit([event(kind, at=time.time(), **fields)], {})  # type: ignore[arg-type]

    async def told(self, count: int) -> list[str]:
        await until(lambda: len(self.service.got) >= count)
        return [f"{got.kind} {got.title}" for got in self.service.got]


@pytest.fixture
async def kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Kept]:
    monkeypatch.chdir(tmp_path)
    for key, value in {**SITE, "STATE_DIR": str(tmp_path), "ENABLED_NOTIFIERS": "NTFY", "NTFY_TOPIC": "x"}.items():
        monkeypatch.setenv(key, value)
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(Service("A"))
        broker = await stack.enter_async_context(Mosquitto(tmp_path / "m"))
        ports = {"A": service.port}
        journal, _ = await stack.enter_async_context(running(tmp_path / "journal.db", broker.options, ports))
        yield Kept(journal, service, capsys)


async def test_a_silence_beside_running_notifiers(kept: Kept) -> None:
    code, out, err = await kept.run("silence", "pve1", "2h", "--reason", "new disks")
    assert (code, err) == (0, "")
    identity = out.split()[-1]
    assert "node pve1 of site lab" in out
    await kept.happens("storage.offline", metadata={"storage": "nfs"})
    await kept.happens("guest.oom", guest=100)
    await kept.happens("guest.oom", guest=200, node="pve2")
    assert await kept.told(1) == ["event guest.oom 200"]
    _, out, _ = await kept.run("silence", "--list")
    assert identity in out
    assert "new disks" in out
    assert "1 h 59 min left" in out
    row = json.loads((await kept.run("silence", "--list", "--json"))[1])
    assert (row["scope"], row["site"], row["target"], row["reason"]) == ("node", "lab", "pve1", "new disks")
    assert (await kept.run("silence", "--end", identity))[0] == 0
    told = await kept.told(2)
    assert told[1].startswith("digest Still wrong after the silence")
    assert (await kept.run("silence", "--list"))[1:] == ("", "Nothing is silent.\n")
    code, _, err = await kept.run("silence", "--end", identity)
    assert (code, "There is no silence" in err) == (1, True)


async def test_an_acknowledged_incident_is_told_at_its_end(kept: Kept) -> None:
    assert "Nothing is wrong" in (await kept.run("incidents"))[2]
    await kept.happens("node.offline")
    await kept.told(1)
    row = json.loads((await kept.run("incidents", "--json"))[1])
    assert (row["title"], row["node"], row["acknowledged"]) == ("node.offline pve1", "pve1", "")
    _, out, _ = await kept.run("incidents")
    assert out.split()[0] == row["id"][:8]
    assert (await kept.run("incidents", "acknowledge", row["id"][:8], "--by", "ann"))[0] == 0
    assert "[acknowledged by ann]" in (await kept.run("incidents"))[1]
    await asyncio.sleep(0.5)
    await kept.happens("node.online")
    assert (await kept.told(2))[1] == "recovery node.online pve1"
    code, _, err = await kept.run("incidents", "acknowledge", "0000")
    assert (code, "There is no incident '0000'" in err) == (1, True)


async def test_what_is_not_meant_is_said(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    await kept.happens("guest.oom", guest=100)
    _, _, err = await kept.run("silence", "pve11", "1h")
    assert "no event of a node 'pve11'" in err
    monkeypatch.setenv("ENABLED_NOTIFIERS", "none")
    assert "no notifier is enabled" in (await kept.run("silence", "100", "1h"))[2]
    for words in (("silence",), ("silence", "pve1"), ("silence", "pve1", "soon"), ("silence", "vm:1", "1h")):
        code, out, err = await kept.run(*words)
        assert (code, out) == (1, "")
        assert "Traceback" not in err
    assert (await kept.run("incidents", "acknowledge"))[0] == 1


def test_without_a_journal_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "nothing"))
    for words in (("silence", "100", "1h"), ("silence", "--list"), ("silence", "--end", "x"), ("incidents",)):
        assert cli.main(words) == 1
        assert "no journal yet" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("given", "text", "site", "found"),
    [
        (SITE, "lab", None, ("site", "lab", "")),
        (SITE, "pve1", None, ("node", "lab", "pve1")),
        (SITE, "100", None, ("guest", "lab", "100")),
        (SITE, "tag:web", None, ("tag", "", "web")),
        (SITE, "tag:web", "lab", ("tag", "lab", "web")),
        (SITE, "node:lab", None, ("node", "lab", "lab")),
        (TWO, "100", None, ("guest", "", "100")),
        (TWO, "100", "home", ("guest", "home", "100")),
        (TWO, "home", None, ("site", "home", "")),
        ({}, "site:anything", None, ("site", "anything", "")),
        ({}, "pve1", None, ("node", "", "pve1")),
        (MIXED, "pve2", None, ("node", "lab", "pve2")),
        (MIXED, "PVE2", None, ("node", "lab", "PVE2")),
        (MIXED, "pve9", None, ("node", "", "pve9")),
    ],
)
def test_what_a_word_names(given: dict[str, str], text: str, site: str | None, found: tuple[str, str, str]) -> None:
    assert where(load(given, search=False, hosts=False), text, site) == found


@pytest.mark.parametrize(("text", "site"), [("site:nope", None), ("100", "nope"), ("guest:x", None), ("tag:", None)])
def test_what_names_nothing(text: str, site: str | None) -> None:
    with pytest.raises(BridgeError):
        where(load(SITE, search=False), text, site)
