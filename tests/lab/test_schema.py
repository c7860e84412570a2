"""Every answer that the lab knows to give has the types and the fields that the schema promises."""

from __future__ import annotations

from typing import Any

from proxmox_mcp.lab.apitable import Kind, paths
from proxmox_mcp.lab.handlers import PVE
from proxmox_mcp.lab.pbs.handlers import ROUTES as PBS
from tests.lab.conftest import Client, MakeLab

# What a parameter needs to be for a route to answer; {guest} is a VM or a container as the path says.
VALUES: dict[str, dict[str, Any]] = {
    "/nodes/{node}/qemu/{vmid}/feature": {"feature": "snapshot"},
    "/nodes/{node}/lxc/{vmid}/feature": {"feature": "snapshot"},
    "/nodes/{node}/disks/smart": {"disk": "/dev/sda"},
    "/nodes/{node}/scan/nfs": {"server": "192.0.2.1"},
}
# Where real hosts differ from their own schema, as recorded: path → fields ("" is the answer itself).
RECORDED_OTHERWISE: dict[str, set[str]] = {
    "/cluster/nextid": {""},
    "/nodes/{node}/disks/list": {"osdid-list"},
    "/nodes/{node}/lxc/{vmid}/pending": {"value"},
    "/nodes/{node}/qemu/{vmid}/pending": {"value"},
    "/nodes/{node}/storage/{storage}/content": {"parent"},
    "/nodes/{node}/subscription": {"serverid"},
    "/nodes/{node}/vzdump/defaults": {"fleecing", "performance"},
}
# A backup server's schema says null for these; its own web interface reads lines and figures from them.
SCHEMA_IS_WRONG = {
    ("pbs", "/nodes/{node}/tasks/{upid}/log"),
    ("pbs", "/nodes/{node}/rrd"),
    ("pbs", "/admin/datastore/{store}/rrd"),
}
REFUSED = {
    "/cluster/ha/groups": "gone since 9.0",
    "/nodes": "of a backup server: for root itself, not for its tokens",
}
PYTHON = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (int, bool),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def wrong_type(kind: Kind, declared: Any, value: Any) -> bool:
    """PVE writes booleans as 0 and 1, Backup Server as true and false."""
    if declared not in PYTHON:
        return False
    if declared in ("integer", "number") and isinstance(value, bool):
        return True
    if kind == "pbs" and declared == "boolean":
        return not isinstance(value, bool)
    return not isinstance(value, PYTHON[declared])


def problems(kind: Kind, path: str, data: Any) -> list[str]:
    returns = paths(kind)[path]["GET"].returns
    if not returns or (kind, path) in SCHEMA_IS_WRONG:
        return []
    otherwise = RECORDED_OTHERWISE.get(path, set()) if kind == "pve" else set()
    wrong = "" not in otherwise and wrong_type(kind, returns["type"], data)
    found = [f"is {type(data).__name__}, not {returns['type']}"] if wrong else []
    rows = data if isinstance(data, list) else [data]
    for row in rows:
        if not isinstance(row, dict):
            continue
        for name, (declared, optional) in returns.get("fields", {}).items():
            if name not in row and not optional:
                found.append(f"misses {name!r}")
            if name in row and name not in otherwise and wrong_type(kind, declared, row[name]):
                found.append(f"{name!r} is {row[name]!r}, not {declared}")
    return sorted({f"{path} {problem}" for problem in found})


async def ask(api: Client, kind: Kind, path: str) -> Any:
    world = api.lab.world
    guest = next(
        one for one in world.sorted_guests() if one.kind == ("lxc" if "/lxc" in path else "qemu") and one.running
    )
    tasks = world.pbs["pbs1"].tasks if kind == "pbs" else world.tasks
    upid = next(task.upid for queue in tasks.by_node.values() for task in queue)
    values = {
        "node": "pbs1" if kind == "pbs" else upid.split(":")[1] if "{upid}" in path else guest.node,
        "vmid": guest.vmid,
        "upid": upid,
        "storage": "nas",
        "volume": "nas:iso/debian-13.1.0-amd64-netinst.iso",
        "poolid": "prod",
        "userid": "root@pam",
        "tokenid": "full",
        "id": "backup-nightly",
        "snapname": "clean",
        "store": "main",
        "name": "tank" if path.endswith("/zfs/{name}") else path.split("/")[-2],
    }
    if path.startswith("/cluster/metrics"):
        values["id"] = "influx"
    params = dict(VALUES.get(path, {}))
    if "timeframe" in paths(kind)[path]["GET"].parameters:
        params |= {"timeframe": "hour", "cf": "AVERAGE"}
    if path.endswith("/extractconfig"):
        params["volume"] = world.storages["pbs1"].on("")[0].volid
    if path.endswith("/exec-status"):
        params["pid"] = (await api("POST", path.format(**values)[: -len("-status")], command=["uname"])).data["pid"]
    return await api.get(path.format(**values), host="pbs1" if kind == "pbs" else "", **params)


# One entry of each kind, named after its path.
CONFIGURED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("endpoints/gotify", {"server": "http://127.0.0.1:1", "token": "t", "disable": 1}),
    ("endpoints/sendmail", {"mailto": "a@lab.example", "author": "lab", "comment": "c"}),
    ("endpoints/smtp", {"server": "localhost", "from-address": "a@lab.example", "mailto-user": "root@pam", "port": 25}),
    (
        "endpoints/webhook",
        {"url": "http://127.0.0.1:1/", "method": "post", "header": "name=A,value=Yg==", "secret": "name=s,value=Yg=="},
    ),
    ("matchers", {"target": "webhook", "match-severity": "error,warning", "mode": "any", "invert-match": 1}),
)


async def configure(api: Client) -> None:
    for kind, params in CONFIGURED:
        name = kind.split("/")[-1]
        sent = {"name": name} | params
        for host, prefix in (("", "/cluster/notifications"), ("pbs1", "/config/notifications")):
            answer = await api("POST", f"{prefix}/{kind}", host=host, **sent)
            assert answer.status == 200, answer
    answer = await api("POST", "/cluster/metrics/server/influx", type="influxdb", server="127.0.0.1", port=1, disable=1)
    assert answer.status == 200, answer


async def test_answers_match_the_schema(make_lab: MakeLab) -> None:
    api = await make_lab(guests=60)
    await configure(api)
    found: list[str] = []
    for kind, routes in (("pve", PVE), ("pbs", PBS)):
        product: Kind = "pve" if kind == "pve" else "pbs"
        for method, path in routes:
            if method == "GET" and (path not in REFUSED or (kind, path) == ("pve", "/nodes")):
                found += problems(product, path, await ask(api, product, path))
    assert not found, "\n".join(found)
    assert api.lab.violations == []
