"""Webhook and Gotify targets against a real HTTP server: shapes as Proxmox sends them, failures as it tells them."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from typing import Any

import pytest

from tests.lab.conftest import Client, MakeLab
from tests.lab.receivers import HttpServer, http_server, until

ENDPOINTS = "/cluster/notifications/endpoints"
MATCHERS = "/cluster/notifications/matchers"
EVERYTHING = (
    '{"title":"{{escape title}}","message":"{{ escape message }}","severity":"{{severity}}",'
    '"timestamp":{{timestamp}},"fields":{{json fields}} }'
)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def route(api: Client, target: str, host: str = "", prefix: str = "/cluster/notifications") -> None:
    """Send everything to one target, in place of root's mailbox."""
    answer = await api("PUT", f"{prefix}/matchers/default-matcher", host=host, target=target)
    assert answer.status == 200, answer


async def add_webhook(api: Client, server: HttpServer, body: str = EVERYTHING, **more: Any) -> None:
    answer = await api(
        "POST", f"{ENDPOINTS}/webhook", name="hook", method="post", url=f"{server.url}/in", body=b64(body), **more
    )
    assert answer.status == 200, answer
    await route(api, "hook")


async def add_gotify(api: Client, server: HttpServer) -> None:
    answer = await api("POST", f"{ENDPOINTS}/gotify", name="gotify", server=server.url, token="app-token")
    assert answer.status == 200, answer
    await route(api, "gotify")


async def test_webhook_after_a_backup(api: Client) -> None:
    async with http_server() as server:
        secret = b64("s3cret")
        header = [f"name=Content-Type,value={b64('application/json')}", f"name=X-Key,value={b64('{{ secrets.key }}')}"]
        await add_webhook(api, server, header=header, secret=f"name=key,value={secret}")
        assert await api.task("POST", "/nodes/pve1/vzdump", vmid=100, storage="nas", mode="snapshot") == "OK"
        got = await server.first()
    assert (got.method, got.path, got.headers["X-Key"]) == ("POST", "/in", "s3cret")
    assert got.headers["Content-Type"] == "application/json"
    note = got.json
    assert note.keys() == {"title", "message", "severity", "timestamp", "fields"}
    assert note["title"] == "vzdump backup status (pve1.lab.example): backup successful "
    assert (note["severity"], note["fields"]) == ("info", {"hostname": "pve1", "type": "vzdump"})
    assert abs(note["timestamp"] - time.time()) < 30
    assert re.match(
        r"\nDetails\n=======\nVMID    Name     Status    Time    Size +Filename +\n"
        r"100     web01    ok        30s     [\d.]+ GiB +/mnt/pve/nas/dump/vzdump-qemu-100-[\d_-]+\.vma\.zst    \n\n"
        r"Total running time: 31s\nTotal size: [\d.]+ GiB\n\nLogs\n====\n"
        r"vzdump 100 --mode snapshot --storage nas --node pve1\n\n\n"
        r"100: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO: Starting Backup of VM 100 \(qemu\)\n",
        note["message"],
    )
    assert note["message"].endswith("INFO: Finished Backup of VM 100 (00:00:30)\n\n\n")
    assert "s3cret" not in str(await api.get(f"{ENDPOINTS}/webhook"))
    assert api.lab.violations == []


async def test_gotify_after_a_failed_backup(api: Client) -> None:
    async with http_server() as server:
        await add_gotify(api, server)
        api.lab.fault("backup-fail", 100)
        assert await api.task("POST", "/nodes/pve1/vzdump", vmid=100, storage="nas") == "job errors"
        got = await server.first()
    assert (got.method, got.path, got.headers["Content-Type"]) == ("POST", "/message", "application/json")
    assert (got.headers["Authorization"], got.headers["X-Gotify-Key"]) == ("Bearer app-token", "app-token")
    message = got.json
    assert {key: message[key] for key in ("extras", "priority", "title")} == {
        "extras": {"client::display": {"contentType": "text/markdown"}},
        "priority": 9,
        "title": "vzdump backup status (pve1.lab.example): backup failed ",
    }
    text = message["message"]
    assert text.startswith("```\n\nDetails\n=======\n")
    assert "\n100     web01    err       20s     0 B     null        \n" in text
    assert text.endswith("ERROR: Backup of VM 100 failed - job failed with err -5 - Input/output error\n\n\n\n```")


async def test_a_job_that_never_began(api: Client) -> None:
    async with http_server() as server:
        await add_gotify(api, server)
        api.lab.fault("task-fail", "vzdump", "could not activate storage 'nas': timed out")
        await api.task("POST", "/nodes/pve1/vzdump", vmid=100, storage="nas")
        message = (await server.first()).json
    assert message["title"].endswith(": backup failed: could not activate storage 'nas': timed out ")


FAULTS: list[tuple[tuple[object, ...], tuple[str, str, int], dict[str, str]]] = [
    (
        ("replication-fail", 100, "pve2", "exit code 255"),
        (
            "Replication Job: '100-0' failed ",
            "Replication job '100-0' with target 'pve2' and schedule '*/15' failed!\n\nLast successful sync: ",
            9,
        ),
        {"type": "replication", "hostname": "pve1", "job-id": "100-0"},
    ),
    (
        ("updates-available", "pve2"),
        (
            "New software packages available (pve2.lab.example) ",
            "The following updates are available:\n\nPackage Name    Installed Version    Available Version    \n",
            1,
        ),
        {"type": "package-updates", "hostname": "pve2"},
    ),
    (
        ("system-mail", "pve1", "cron", "failed"),
        (
            "cron failed",
            "pve1 : cron failed\n",
            3,
        ),
        {"type": "system-mail", "hostname": "pve1"},
    ),
    (
        ("disk-fail", "pve1", "/dev/sda"),
        (
            "SMART error (Health) detected on host: pve1",
            "This message was generated by the smartd daemon running on:\n\n   host name:  pve1\n",
            3,
        ),
        {"type": "system-mail", "hostname": "pve1"},
    ),
]


@pytest.mark.parametrize(("fault", "said", "fields"), FAULTS)
async def test_on_demand(
    api: Client, fault: tuple[object, ...], said: tuple[str, str, int], fields: dict[str, str]
) -> None:
    title, begin, priority = said
    async with http_server() as hook, http_server() as gotify:
        await add_webhook(api, hook)
        await add_gotify(api, gotify)
        await api("PUT", f"{MATCHERS}/default-matcher", target=["hook", "gotify"])
        api.lab.fault(str(fault[0]), *fault[1:])
        note, message = (await hook.first()).json, (await gotify.first()).json
    assert (note["title"], note["fields"], message["priority"]) == (title, fields, priority)
    assert note["message"].startswith(begin)
    assert message["message"] == f"```\n{note['message']}\n```"


async def test_the_daily_look_for_updates(api: Client) -> None:
    async with http_server() as server:
        await add_webhook(api, server)
        assert await api.task("POST", "/nodes/pve1/apt/update") == "OK"
        assert await api.task("POST", "/nodes/pve2/apt/update", notify=1) == "OK"
        assert await api.task("POST", "/nodes/pve1/apt/update", notify=1) == "OK"
        await api.lab.outbox.settle()
    assert [got.json["fields"] for got in server.got] == [{"hostname": "pve1", "type": "package-updates"}]


async def test_a_dead_node_sends_nothing(api: Client) -> None:
    api.lab.fault("node-down", "pve2")
    api.lab.fault("system-mail", "pve2")
    await api.lab.outbox.settle()
    assert api.lab.emitted == []


async def test_a_node_is_fenced(make_lab: MakeLab) -> None:
    api = await make_lab(ha_recovery=0.2)
    async with http_server() as server:
        await add_webhook(api, server)
        sid = next(iter(api.lab.world.ha))
        node = api.lab.guest(int(sid.split(":")[1])).node
        api.lab.fault("node-down", node)
        await until(lambda: len(server.got) == 2)
        notes = {one["title"]: one for one in (got.json for got in server.got)}
    trying = notes[f"Trying to fence node '{node}' "]
    done = notes[f"Successfully fenced node '{node}' "]
    assert (trying["severity"], trying["fields"]) == ("error", {"type": "fencing", "hostname": node})
    assert f"\n- {node}: fence \n" in trying["message"]
    assert f"\n- {node}: unknown \n" in done["message"]
    for note in (trying, done):
        assert note["message"].startswith(f"The node '{node}' in cluster 'lab' failed\nand needs manual intervention.")
        assert f"\n- {sid} [{node}]: fence\n" in note["message"]
        assert note["message"].count("[master]") == 1


async def test_every_pbs_job_notifies(api: Client) -> None:
    async with http_server() as server:
        prefix, host = "/config/notifications", "pbs1"
        sent = {"name": "gotify", "server": server.url, "token": "t"}
        assert (await api("POST", f"{prefix}/endpoints/gotify", host=host, **sent)).status == 200
        await route(api, "gotify", host, prefix)
        api.lab.fault("task-fail", "prunejob", "unable to acquire lock")
        for path in ("datastore/main/gc", "verify/v-main/run", "prune/p-main/run", "sync/s-offsite/run"):
            assert (await api("POST", f"/admin/{path}", host=host)).status == 200
        api.lab.fault("updates-available", host)
        await until(lambda: len(server.got) == 5)
        seen = {got.json["title"]: got.json["message"] for got in server.got}
    assert set(seen) == {
        "Garbage Collect Datastore 'main' successful ",
        "Verify Datastore 'main' successful ",
        "Pruning datastore 'main' failed ",
        "Sync remote 'offsite' datastore 'main' successful  ",
        "New software packages available (pbs1) ",
    }
    pruning = (
        "```\n\nJob ID:       p-main\nDatastore:    main\n\nPruning failed: unable to acquire lock\n\n\n"
        "Please visit the web interface for further details:\n\n"
        "<https://pbs1.lab.example:8007/#pbsServerAdministration:tasks>\n\n```"
    )
    assert seen["Pruning datastore 'main' failed "] == pruning
    assert re.match(
        r"```\nDatastore:            main\nTask ID:              UPID:pbs1:\S+:garbage_collection:main:\S+:\n"
        r"Index file count:     \d+\n\nRemoved garbage:      117\.738 MiB\n",
        seen["Garbage Collect Datastore 'main' successful "],
    )


async def test_failures_are_told_where_proxmox_tells_them(make_lab: MakeLab) -> None:
    """In vzdump's task log and, where there is no task, in the journal; secrets are masked, the lab goes on."""
    api = await make_lab(notify_timeout=0.2)
    async with http_server(status=500) as server:
        await add_webhook(api, server, secret=f"name=s,value={b64('in')}")
        upid = (await api("POST", "/nodes/pve1/vzdump", vmid=100, storage="nas")).data
        await api.settle()
        await api.lab.outbox.settle()
        server.delay = 1
        api.lab.fault("system-mail", "pve1", "slow")
        await api.lab.outbox.settle()
    lines = [row["t"] for row in await api.get(f"/nodes/pve1/tasks/{upid}/log")]
    masked = f"{server.url}/<masked>: status code 500"
    assert lines[-2:] == [f"ERROR: could not notify via target `hook`: {masked}", "TASK OK"]
    told = [row["t"] for row in await api.get("/nodes/pve1/syslog", limit=500)]
    assert any("proxmox-mail-forward" in line and "timed out" in line for line in told)
    assert [(one.channel, bool(one.error)) for one in api.lab.emitted] == [("webhook", True)] * 2


async def test_a_target_can_be_tested(api: Client) -> None:
    path = "/cluster/notifications/targets"
    async with http_server() as server:
        await add_gotify(api, server)
        assert (await api("POST", f"{path}/gotify/test")).status == 200
        message = server.got[0].json
        assert (message["title"], message["priority"]) == ("Test notification ", 1)
        assert message["message"] == "```\nThis is a test of the notification target 'gotify'.\n\n```"
        server.status = 401
        refused = await api("POST", f"{path}/gotify/test")
    assert (refused.status, refused.reason) == (
        500,
        f"Could not test target: could not notify via endpoint(s): gotify: {server.url}/message: status code 401",
    )
    assert (await api("POST", f"{path}/nobody/test")).reason == "endpoint 'nobody' does not exist"
    assert (await api("POST", f"{path}/mail-to-root/test")).status == 200


async def test_a_redirect_is_not_followed(api: Client) -> None:
    async with http_server(status=302) as server:
        await add_gotify(api, server)
        assert (await api("POST", "/cluster/notifications/targets/gotify/test")).status == 500
        assert len(server.got) == 1


async def test_a_hanging_receiver_holds_nobody_up(api: Client) -> None:
    async with http_server() as server:
        server.delay = 30
        await add_gotify(api, server)
        for _ in range(250):
            api.lab.fault("system-mail", "pve1")
        async with asyncio.timeout(15):
            assert await api.task("POST", "/nodes/pve1/vzdump", vmid=100, storage="nas") == "OK"
        assert (len(api.lab.outbox.sending), api.lab.outbox.lost) == (200, 51)
