"""What can happen in the middle: a guest that does not hear, a lock, an abort, the death of the bridge, a new start."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.site_shutdown.around import Around
from mqtt_bridge.site_shutdown.progress import Node, Order, Progress, Stage, boot_id
from mqtt_bridge.site_shutdown.wanted import Wanted
from proxmox_mcp.lab.power import turn_on
from tests.commands.desk import asked
from tests.shutdown.stage import FAST, LONG, stage, tagged
from tests.shutdown.stage import Stage as Scene
from tests.support.processes import Command, environment, until


class Clock:
    """Time that can be put forward: what waits for the end of a stage's time need not take it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = self.put_back = 0.0
        for module in ("guests", "course", "nodes", "progress"):
            monkeypatch.setattr(f"mqtt_bridge.site_shutdown.{module}.time", self)

    def time(self) -> float:
        return time.time() + self.ahead - self.put_back

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


async def test_what_does_not_go_down_is_named_and_with_force_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    async with stage(tmp_path) as on, on.bridge():
        deaf, paused, locked = (
            tagged(on.lab, "web")[0],
            *[v for v in on.running() if on.lab.guest(v).kind == "qemu"][-2:],
        )
        assert len({deaf, paused, locked}) == 3
        on.lab.fault("guest-deaf", deaf)
        on.lab.fault("guest-pause", paused)
        on.lab.fault("guest-lock", locked, "backup")
        said = await on.order("shutdown", args={"stages": ["web"], "nodes": False})
        assert any("Locked" in note for note in said["notes"])
        await _left_are(on, {deaf}, stage="web")
        clock.ahead += 301
        during = await on.became("running", stage="others")
        assert during["not_down"] == [deaf], "the stage went on without it"
        await _left_are(on, {paused, locked}, stage="others")
        clock.ahead += 301
        failed = await on.became("failed")
        assert set(failed["not_down"]) == set(on.running()) == {deaf, paused, locked}
        event = await on.told("site.shutdown.failed")
        assert (event["severity"], set(event["metadata"]["not_down"])) == ("error", {deaf, paused, locked})
        assert on.lab.guest(deaf).name in event["message"]
        assert all(why in event["message"] for why in ("backup", "paused")), "and why"
        assert failed["guests_down"] == failed["guests_total"] - 3
        assert not any(path.endswith("/status/stop") for path in on.writes()), "nothing was forced"
        on.lab.fault("guest-unlock", locked)
        await on.order("shutdown", args={"nodes": False, "force": True})
        await _left_are(on, {deaf, paused}, stage="others")
        clock.ahead += 301
        done = await on.became("done")
        assert (on.running(), done["guests_total"]) == ([], 3)
        stopped = {int(path.split("/")[4]) for path in on.writes() if path.endswith("/status/stop")}
        assert stopped == {deaf, paused}
        assert "guest.stopped.unexpected" not in on.kinds()
        assert all(node.online for node in on.lab.world.nodes.values())


@pytest.mark.parametrize(("later", "state"), [(60, "done"), (241, "failed")])
async def test_nodes_have_a_patience_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, later: int, state: str
) -> None:
    """However short the stages are: what is left on a node has 180 seconds there, which Proxmox gives it."""
    clock = Clock(monkeypatch)
    if state == "failed":  # it never leaves
        monkeypatch.setattr("proxmox_mcp.lab.handlers.power._schedule", lambda *_, **__: None)
    async with stage(tmp_path, replace(FAST, nodes=2, guests=4, pbs=0)) as on, on.bridge():
        deaf = on.running()[0]
        on.lab.fault("guest-deaf", deaf)
        await on.order("shutdown", args={"stage_timeout": 10})
        await _left_are(on, {deaf}, stage="others")
        clock.ahead += 11
        await until(lambda: {"pve1", "pve2"} <= set(on.shut()), LONG, lambda: on.states()[-3:])
        clock.ahead += later
        ended = await on.became(state)
        assert ended["not_down"] == ([] if state == "done" else ["pve1", "pve2", deaf])
        if state == "done":
            assert f"went with its node: VM {deaf}" in ended["message"]
        else:
            assert ended["message"].startswith(f"Still up: node pve1, node pve2, VM {deaf}"), "nodes first"


async def _left_are(on: Scene, vmids: set[int], stage: str) -> None:
    """Of those that this stage concerns, so many are still up, as it says."""
    names = {on.lab.guest(vmid).name for vmid in vmids}

    def said() -> bool:
        state = on.state()
        up = state["message"].partition("still up: ")[2]
        return state["stage"] == stage and up.count(",") == len(names) - 1 and all(name in up for name in names)

    await until(said, LONG, lambda: on.states()[-3:])


async def test_aborted_in_the_middle_nothing_more_is_begun(tmp_path: Path) -> None:
    async with stage(tmp_path) as on, on.bridge():
        up, web = on.running(), tagged(on.lab, "web")
        on.lab.fault("guest-deaf", web[0])
        await on.order("shutdown", args={"stages": ["web"], "stage_timeout": 3600})
        await until(lambda: on.state()["guests_down"] == len(web) - 1, LONG)
        said = await on.order("shutdown_abort", who="ann")
        assert (said["status"], said["ok"]) == ("done", True), said
        assert set(said["details"]["down"]) == set(web[1:])
        assert said["details"]["going_down"] == [web[0]]
        assert set(said["details"]["start"]) == set(web)
        aborted = await on.became("aborted")
        assert (aborted["stage"], set(aborted["guests_left"])) == (None, set(up) - set(web[1:]))
        assert "`start`" in aborted["message"]
        assert set(on.shut()) == set(web)
        assert (await on.order("shutdown_abort"))["refused"] == "not_possible"
        await on.told("site.shutdown.aborted")
        assert set(on.running()) == set(up) - set(web[1:])
        assert [r["event"] for r in on.records() if r.get("action") == "site.shutdown" and "reason_given" in r] == [
            "action.begun", "action.aborted",
        ]  # fmt: skip


async def test_killed_in_the_middle_it_goes_on(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        web = tagged(on.lab, "web")
        on.lab.fault("guest-deaf", web[0])
        env = environment(**on.env, POLL_INTERVAL="0.5")
        async with Command(tmp_path / "run", "mqtt-bridge", "run", env=env) as running:
            await on.became("idle")
            one = asked("shutdown", args={"stages": ["web"], "stage_timeout": 3600, "nodes": False})
            assert (await _answered(on, one))["status"] == "started"
            await until(lambda: on.state()["guests_down"] == len(web) - 1, LONG)
            await running.kill()
            shut = on.shut()
            on.got.clear()
            running.start()
            on.lab.fault("guest-deaf", web[0])  # it hears at last
            done = await on.became("done")
            assert done["guests_down"] == done["guests_total"]
            assert on.running() == []
            assert on.shut()[: len(shut)] == shut
            assert len(on.shut()) == len(set(on.shut())), "nothing was asked twice"
            again = await _answered(on, one)
            assert (again["status"], again["refused"]) == ("refused", "repeated")
            await on.told("site.shutdown.done")
            assert on.kinds().count("site.shutdown.started") == 0, "it is the same one"


async def _answered(on: Scene, one: dict[str, Any]) -> dict[str, Any]:
    """Sent until somebody listens: nothing keeps commands for a bridge that only starts."""
    topic = f"proxmox/lab/result/{one['id']}"
    for _ in range(60):
        await on.bus.publish("proxmox/lab/command", json.dumps({**one, "ts": time.time()}).encode())
        try:
            await until(lambda: on.answers(topic), 2)
        except AssertionError:
            continue
        return on.answers(topic)[0]
    raise AssertionError("nobody listens")


def _left(on: Scene, **fields: Any) -> Progress:
    """As a bridge left it that died."""
    now = time.time()
    up = tuple(on.running())
    known: dict[str, Any] = {
        "id": "0b8f2f4e-9a57-4d0c-a5f5-3f1d2b0d8c11", "site": "lab", "order": Order(id="x", level="destroy"),
        "wanted": Wanted(), "boot": boot_id(), "stages": (Stage(name="others", vmids=up),),
        "nodes": tuple(Node(name=f"pve{n}", rank=0) for n in (3, 2, 1)), "started": now - 120, "changed": now - 60,
        "since": now - 60,
    }  # fmt: skip
    return Progress(**{**known, **fields})


@pytest.mark.parametrize(
    ("how", "state", "text"),
    [
        ({"changed": 31 * 60}, "failed", "away for 31 minutes"),
        ({"boot": "another start of this machine"}, "failed", "started again"),
        ({"node": "pve2"}, "failed", "Not seen to go down"),
        ({"all": True}, "done", "All was down"),
        ({"setting": "false"}, "aborted", "not allow it any more"),
    ],
)
async def test_what_came_back_or_is_old_is_not_gone_on_with(
    tmp_path: Path, how: dict[str, Any], state: str, text: str
) -> None:
    """Above all where the power is back: what has just started is not shut down again."""
    async with stage(tmp_path) as on:
        left = _left(on)
        if "changed" in how:
            left = left.model_copy(update={"changed": time.time() - how["changed"]})
        if "boot" in how:
            left = left.model_copy(update={"boot": how["boot"]})
        for name in [how["node"]] if "node" in how else ["pve1", "pve2", "pve3"] if "all" in how else []:
            on.lab.world.nodes[name].booted_at = on.lab.world.now() - 5
        if "all" in how:
            left = left.model_copy(update={"at": 1, "down": left.vmids, "nodes_asked": ("pve3", "pve2", "pve1")})
        (tmp_path / "state").mkdir(mode=0o700)
        async with Journal(tmp_path / "state" / "journal.db") as journal:
            await journal.commit([], {"site shutdown/lab": left.model_dump_json()})
        async with on.bridge(SITE_SHUTDOWN=how.get("setting", "true")):
            found = await on.became(state)
            assert text in found["message"], found
            assert (on.writes(), on.state()["state"]) == ([], state)
            await on.told(f"site.shutdown.{state}")


async def test_an_api_that_answers_with_errors_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, looks, look = Clock(monkeypatch), list[float](), Around.nodes

    async def counted(self: Around) -> Mapping[str, float | None]:
        looks.append(time.monotonic())
        return await look(self)

    monkeypatch.setattr(Around, "nodes", counted)
    monkeypatch.setattr("proxmox_mcp.lab.handlers.power._schedule", lambda *_, **__: None)  # it never leaves
    async with stage(tmp_path, replace(FAST, nodes=2, guests=3, pbs=0)) as on, on.bridge():
        await on.order("shutdown")
        await until(lambda: {"pve1", "pve2"} <= set(on.shut()), LONG, lambda: on.states()[-3:])
        looks.clear()
        await until(lambda: len(looks) > 5, LONG)  # it was accepted
        on.lab.fault("api-error", 500)
        looks.clear()
        await until(lambda: on.state()["state"] != "running" or (looks and looks[-1] - looks[0] > 5), LONG)
        assert on.state()["state"] == "running", on.state()["message"]
        clock.ahead += 301
        assert (await on.became("failed"))["not_down"] == ["pve1", "pve2"]


async def test_what_starts_again_is_asked_again(tmp_path: Path) -> None:
    """By its own reboot, by somebody or by HA: what was seen to be down is not down for ever."""
    async with stage(tmp_path) as on, on.bridge():
        web = tagged(on.lab, "web")
        others = [vmid for vmid in on.running() if vmid not in web]
        on.lab.fault("guest-deaf", web[0])
        on.lab.fault("guest-deaf", others[0])
        await on.order("shutdown", args={"stages": ["web"], "nodes": False, "stage_timeout": 3600})
        await until(lambda: on.state()["guests_down"] == len(web) - 1, LONG)
        turn_on(on.lab.world, on.lab.guest(web[1]))
        await until(lambda: on.shut().count(web[1]) == 2, 20, lambda: on.states()[-1])
        on.lab.fault("guest-deaf", web[0])
        await until(lambda: on.state()["guests_down"] == on.state()["guests_total"] - 1, LONG)
        turn_on(on.lab.world, on.lab.guest(web[1]))
        await until(lambda: on.shut().count(web[1]) == 3, 20, lambda: on.states()[-1])
        on.lab.fault("guest-deaf", others[0])
        done = await on.became("done")
        assert (on.running(), done["guests_down"]) == ([], done["guests_total"])


async def test_what_goes_down_after_its_stage_is_not_said_to_be_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    async with stage(tmp_path) as on, on.bridge():
        late = tagged(on.lab, "web")[0]
        on.lab.fault("guest-deaf", late)
        await on.order("shutdown", args={"stages": ["web"], "nodes": False})
        await _left_are(on, {late}, stage="web")
        other = next(vmid for vmid in on.running() if vmid != late)
        on.lab.fault("guest-deaf", other)
        clock.ahead += 301
        await _left_are(on, {other}, stage="others")
        for vmid in (late, other):
            on.lab.fault("guest-crash", vmid)
        ended = await until_ended(on)
        assert (ended["state"], ended["not_down"]) == ("done", []), ended["message"]


async def test_a_clock_that_is_put_back_makes_no_stage_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    async with stage(tmp_path, replace(FAST, nodes=2, guests=3, pbs=0)) as on, on.bridge():
        deaf = on.running()[0]
        on.lab.fault("guest-deaf", deaf)
        await on.order("shutdown", args={"nodes": False})
        await _left_are(on, {deaf}, stage="others")
        clock.put_back = 3600.0
        clock.ahead += 301
        assert (await on.became("failed"))["not_down"] == [deaf]


async def test_what_fails_in_its_task_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxmox takes it, and its task finds a lock, for one, that came in between."""
    monkeypatch.setattr("mqtt_bridge.site_shutdown.guests.AGAIN", 1.0)
    async with stage(tmp_path, replace(FAST, nodes=2, guests=4, pbs=0)) as on, on.bridge():
        on.lab.world.ha.clear()
        on.lab.fault("task-fail", "qmshutdown", "VM is locked (snapshot)")
        await on.order("shutdown", args={"nodes": False})
        done = await on.became("done")
        assert (on.running(), done["not_down"]) == ([], [])


async def test_a_node_that_hangs_holds_the_guests_of_others_up_no_longer_than_a_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call there costs a minute, and there are several batches of them."""
    called, call = list[int](), Around.call

    async def noted(self: Around, action: str, target: Any, **args: Any) -> Any:
        called.append(getattr(target, "vmid", 0))
        return await call(self, action, target, **args)

    monkeypatch.setattr(Around, "call", noted)
    async with stage(tmp_path, replace(FAST, proxy_timeout=1.0)) as on, on.bridge():
        web = tagged(on.lab, "web")[:1]
        on.lab.fault("guest-deaf", web[0])
        for vmid in tagged(on.lab, "web"):
            on.lab.guest(vmid).node = "pve1"
        await on.order("shutdown", args={"stages": ["web"], "nodes": False, "stage_timeout": 3600})
        await _left_are(on, set(web), stage="web")
        there = {vmid for vmid in on.running() if on.lab.guest(vmid).node == "pve3"}
        assert there
        on.lab.fault("node-hang", "pve3")
        on.lab.fault("guest-deaf", web[0])
        await until(lambda: set(on.running()) == there, LONG, lambda: on.states()[-1])
        assert not there.intersection(called)
        on.lab.fault("node-hang", "pve3", "off")
        assert (await on.became("done"))["not_down"] == []


async def test_what_ha_takes_elsewhere_has_not_gone_with_its_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    async with stage(tmp_path, replace(FAST, nodes=2, guests=4, pbs=0), PROXMOX_NODE_ALLOWLIST="pve1") as on:
        deaf = next(vmid for vmid in on.running() if on.lab.guest(vmid).node == "pve1")
        on.lab.fault("guest-deaf", deaf)
        async with on.bridge():
            await on.order("shutdown")
            await _left_are(on, {deaf}, stage="others")
            clock.ahead += 301
            await until(lambda: "pve1" in on.shut(), LONG, lambda: on.states()[-3:])
            on.lab.fault("guest-migrate", deaf, "pve2")
            ended = await until_ended(on)
            assert (ended["state"], ended["not_down"]) == ("failed", [deaf]), ended


async def until_ended(on: Scene) -> dict[str, Any]:
    await until(lambda: on.state()["state"] in {"done", "failed"}, LONG, lambda: on.states()[-3:])
    return on.state()
