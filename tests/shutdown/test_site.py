"""A site goes down: in stages, by the rules, with what this runs on last."""

import json
from pathlib import Path
from uuid import UUID

import pytest

from mqtt_bridge.whoami import Identity
from proxmox_mcp.lab import Lab
from tests.commands.desk import asked
from tests.shutdown.stage import FAST, LONG, ordered, stage, stage_of, tagged
from tests.support.processes import until
from tests.support.services import Receiver


async def test_all_goes_down_in_stages_and_what_we_run_on_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = Receiver()
    async with receiver.running(), stage(tmp_path) as on:
        lab = on.lab
        up = on.running()
        home, mine = up[-1], up[-2]  # Home Assistant's, and the one that this bridge runs in
        lab.guest(home).node, lab.guest(mine).node = "pve2", "pve1"
        uuid = UUID(int=7)
        lab.guest(mine).config["net0"] = "virtio=BC:24:11:00:00:07,bridge=vmbr0"
        monkeypatch.setattr(
            "mqtt_bridge.actions.perform.read_identity",
            lambda: Identity(frozenset({uuid}), frozenset({"bc:24:11:00:00:07"})),
        )
        own = {home, mine}
        web = [v for v in tagged(lab, "web") if v not in own]
        db = [v for v in tagged(lab, "db") if v not in own and v not in web]
        others = [v for v in up if v not in {*web, *db, *own}]
        managed = [int(sid.partition(":")[2]) for sid in lab.world.ha]
        assert web
        assert db
        async with on.bridge(
            PROXMOX_SELF_GUESTS=str(home),
            ENABLED_NOTIFIERS="WEBHOOK",
            WEBHOOK_OUT_URL=receiver.webhook,
            NOTIFY_DEBOUNCE="0",
            PROXMOX_RATE_LIMIT="2",  # a minute: a battery does not wait for it
        ):
            dry = await on.order("shutdown", dry_run=True, args={"stages": ["web", "db"]})
            assert (dry["status"], dry["ok"], dry["allowed"]) == ("dry_run", True, True)
            assert [(s["stage"], [g["vmid"] for g in s["guests"]]) for s in dry["details"]["stages"]] == [
                ("web", web), ("db", db), ("others", others),
            ]  # fmt: skip
            assert [n["node"] for n in dry["details"]["nodes"]] == ["pve3", "pve2", "pve1"]
            assert [[g["vmid"] for g in n["takes_along"]] for n in dry["details"]["nodes"]] == [[], [home], [mine]]
            assert [call["path"].rpartition("/")[2] for call in dry["calls"][-3:]] == ["status"] * 3
            assert any("requested state" in note for note in dry["notes"])
            assert (on.writes(), on.state()["state"]) == ([], "idle")
            said = await on.order("shutdown", reason="power cut", who="ups", args={"stages": ["web", "db"]})
            assert (said["status"], said["ok"], said["details"]) == ("started", True, dry["details"])
            done = await on.became("done")
            event = await on.told("site.shutdown.done")
            await until(
                lambda: any(a.json["kind"] == "site.shutdown.done" for a in receiver.asked),
                LONG,
                lambda: [a.json for a in receiver.asked],
            )
        assert all(ordered(on.shut(), web, db, others, ["pve3"], ["pve2"], ["pve1"])), on.shut()
        assert on.running() == []
        assert (done["guests_total"], done["guests_down"]) == (len(up) - 2, len(up) - 2)
        assert (done["guests_left"], done["nodes_left"], done["not_down"], done["stage"]) == ([], [], [], None)
        assert sorted(done["ha_stopped"]) == sorted(v for v in managed if v in others + web + db)
        assert done["reason"] == "power cut"
        seen = [s["stage"] for s in on.states() if s["state"] == "running"]
        assert [name for name, before in zip(seen, ["", *seen], strict=False) if name != before] == [
            "web", "db", "others", "nodes",
        ]  # fmt: skip
        last = [s["message"] for s in on.states() if "This bridge runs there" in s["message"]]
        assert last, "what is told before our own end"
        assert "guest.stopped.unexpected" not in on.kinds()
        assert (
            event["correlation_id"]
            == next(e for e in on.events() if e["kind"] == "site.shutdown.started")["correlation_id"]
        )
        assert [a.json["kind"] for a in receiver.asked] == ["site.shutdown.started", "site.shutdown.done"], (
            "one incident"
        )
        _audited(on.records(), {*web, *db, *others})


def _audited(records: list[dict[str, object]], guests: set[int]) -> None:
    """Each call has its two lines, and says which standing word permitted it."""
    intents = [r for r in records if r["event"] == "action.intent"]
    assert {r["guests"][0] for r in intents if r["action"] == "guest.shutdown"} == guests  # type: ignore[index]
    assert [r["node"] for r in intents if r["action"] == "node.shutdown"] == ["pve3", "pve2", "pve1"]
    assert {(r["approved_by"], r["approved_how"], r["channel"]) for r in intents} == {
        ("SITE_SHUTDOWN", "setting", "mqtt")
    }
    assert {r["reason_given"] for r in intents} == {"site shutdown: ups: power cut"}
    assert len([r for r in records if r["event"] == "action.outcome"]) == len(intents)
    assert [r["event"] for r in records if r.get("action") == "site.shutdown" and r["event"].startswith("action.")] == [  # type: ignore[attr-defined]
        "action.begun"
    ]


async def test_what_is_refused_and_what_the_rules_leave_out(tmp_path: Path) -> None:
    async with stage(tmp_path, PROXMOX_PROTECTED_TAGS="db", PROXMOX_NODE_ALLOWLIST="pve1,pve2") as on:
        protected = tagged(on.lab, "db")
        async with on.bridge(SITE_SHUTDOWN="false"):
            off = await on.order("shutdown")
            assert (off["refused"], "SITE_SHUTDOWN=true" in off["hint"]) == ("policy", True)
            assert on.states() == [], "no topic of what there is not"
        async with on.bridge(SITE_SHUTDOWN="false", MQTT_ALLOW="operate"):
            neither = await on.order("shutdown")
            assert "SITE_SHUTDOWN=true and MQTT_ALLOW=destroy" in neither["hint"]
        async with on.bridge(MQTT_ALLOW="change"):
            low = await on.order("shutdown")
            assert (low["refused"], "MQTT_ALLOW=destroy" in low["hint"]) == ("policy", True)
        async with on.bridge():
            await on.bus.publish("proxmox/lab/command", b"shutdown")
            await until(
                lambda: any(
                    json.loads(m.payload).get("refused") == "bare_word" for m in on.got if "/result/" in m.topic
                )
            )
            stored = await on.send(asked("shutdown"), retain=True)
            assert stored["refused"] == "retained"
            await on.bus.publish("proxmox/lab/command", b"", retain=True)
            assert (await on.send({**asked("shutdown"), "ts": 1_700_000_000}))["refused"] == "stale"
            for args in ({"stages": "web"}, {"stages": ["web", "web"]}, {"stages": ["nodes"]}, {"stage_timeout": 9},
                         {"force": "yes"}, {"colour": "red"}):  # fmt: skip
                wrong = await on.order("shutdown", args=args)
                assert (wrong["refused"], wrong["message"][:5]) == ("wrong", "args."), wrong
            assert (await on.order("shutdown", force=True))["refused"] == "wrong"
            assert (await on.order("shutdown_abort"))["refused"] == "not_possible"
            assert (await on.order("shutdown", site="pbs1"))["refused"] == "not_possible"
            assert on.writes() == []
            on.lab.fault("daemon-down", "pve1")
            hangs = await on.order("shutdown", dry_run=True, args={"stages": ["wbe", "web"]})
            assert [note for note in hangs["notes"] if "the tag" in note] == ["No guest has the tag wbe."]
            assert "cannot be read" in {o["what"]: o["why"] for o in hangs["details"]["left_out"]}["node pve1"]
            on.lab.fault("daemon-up", "pve1")
            one = asked("shutdown", args={"stages": ["Web", "wbe"]})
            first = await on.send(one)
            assert "No guest has the tag wbe." in first["notes"]
            assert not any("tag web" in note for note in first["notes"])
            left = {each["what"]: each["why"] for each in first["details"]["left_out"]}
            assert "pve3" in left["node pve3"], "outside the list of nodes"
            assert all(any(f"{vmid} " in what for what in left) for vmid in protected)
            assert (await on.send(one))["refused"] == "repeated"
            assert (await on.order("shutdown"))["refused"] == "not_possible", "one at a time"
            done = await on.became("done")
        assert set(on.running()) >= set(protected), "the protected are spared, and their nodes with them"
        nodes = {on.lab.guest(vmid).node for vmid in protected} | {"pve3"}
        assert {node.name for node in on.lab.world.nodes.values() if node.online} == nodes
        assert {on.lab.guest(vmid).node for vmid in on.running()} == nodes
        assert len(done["left_out"]) == len(left)
        assert [r["setting"] for r in on.records() if r["event"] == "action.refused"] == [
            "SITE_SHUTDOWN",
            "SITE_SHUTDOWN",
            "MQTT_ALLOW",
        ]


async def test_the_standing_word_is_for_this_command_alone(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        own = on.running()[0]
        async with on.bridge(PROXMOX_SELF_GUESTS=str(own)):
            for place in (f"guest/{own}", "node/pve3"):
                refused = await on.order("shutdown", place=place)
                assert (refused["status"], refused["ok"]) == ("approval_required", False), refused
            assert on.writes() == []


async def test_of_two_sites_one_goes_down_and_the_other_stays(tmp_path: Path) -> None:
    """Both are one host, whose silence is all that is seen of its end. The API is away in the middle."""
    options = FAST.__class__(nodes=1, guests=4, pbs=0, speed=20, pvestatd_interval=0, auth_delay=0.05)
    async with Lab(options) as one, Lab(options) as two:
        settings = {"PVE_NODES": "north,south"}
        for name, lab in (("north", one), ("south", two)):
            settings |= {
                key.replace("PVE1_", f"{name.upper()}_"): value
                for key, value in lab.env.items()
                if key.startswith("PVE1_")
            }
        async with stage_of(tmp_path, {"north": one, "south": two}, settings) as on, on.bridge():
            both = set(on.running("south"))
            deaf = on.running("north")[0]
            one.fault("guest-deaf", deaf)
            await on.order("shutdown", site="north", args={"force": True})
            await until(lambda: on.state("north").get("guests_down") == on.state("north")["guests_total"] - 1, LONG)
            one.fault("token-strip")
            looks = _looks(one)
            await until(lambda: _looks(one) > looks + 20, LONG)
            seen = on.state("north")
            assert (seen["state"], seen["guests_down"]) == ("running", seen["guests_total"] - 1), "a list was empty"
            one.fault("token-unstrip")
            one.fault("api-error", 500)
            await until(lambda: "does not answer" in on.state("north")["message"], LONG)
            one.fault("guest-deaf", deaf)
            one.fault("api-error", 0)
            done = await on.became("done", "north")
            assert done["guests_down"] == done["guests_total"]
            assert (on.state("south")["state"], set(on.running("south"))) == ("idle", both)
            assert on.writes("south") == []
            assert not next(iter(one.world.nodes.values())).online
            await on.told("site.shutdown.done", "north")
            assert [k for k in on.kinds("south") if k.startswith("site.shutdown")] == []


def _looks(lab: Lab) -> int:
    return sum(request.path == "/cluster/resources" for request in lab.requests)
