"""The QEMU guest agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import rrd
from proxmox_mcp.lab.call import Call, Handler, Route
from proxmox_mcp.lab.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxmox_mcp.lab.state import Guest

KERNEL = "6.12.57+deb13-amd64"
_COMMANDS = [
    "guest-get-osinfo",
    "guest-get-host-name",
    "guest-network-get-interfaces",
    "guest-get-fsinfo",
    "guest-exec",
    "guest-exec-status",
    "guest-get-time",
    "guest-ping",
    "guest-shutdown",
    "guest-fsfreeze-freeze",
    "guest-fsfreeze-thaw",
    "guest-fstrim",
]


def ready(call: Call) -> Guest:
    """The guest, if it runs and its agent answers."""
    guest = call.guest
    if not guest.running:
        raise ApiError(500, f"VM {guest.vmid} is not running")
    if not guest.agent:
        raise ApiError(500, "No QEMU guest agent configured")
    if guest.agent_dead or guest.paused:
        raise ApiError(500, "QEMU guest agent is not running")
    return guest


def osinfo(_call: Call, _guest: Guest) -> dict[str, str]:
    return {
        "id": "debian",
        "kernel-release": KERNEL,
        "kernel-version": "#1 SMP PREEMPT_DYNAMIC Debian 6.12.57-1 (2026-10-05)",
        "machine": "x86_64",
        "name": "Debian GNU/Linux",
        "pretty-name": "Debian GNU/Linux 13 (trixie)",
        "version": "13 (trixie)",
        "version-id": "13",
    }


def host_name(_call: Call, guest: Guest) -> dict[str, str]:
    return {"host-name": guest.name}


def interfaces(_call: Call, guest: Guest) -> list[dict[str, Any]]:
    hardware, address = rrd.address(guest)
    suffix = ":".join((f"fe80::be24:11ff:fe{hardware[9:11]}", hardware[12:].replace(":", ""))).lower()
    return [
        _interface("lo", "00:00:00:00:00:00", ("127.0.0.1", 8), ("::1", 128)),
        _interface("eth0", hardware.lower(), (address, 24), (suffix, 64)),
    ]


def _interface(name: str, hardware: str, four: tuple[str, int], six: tuple[str, int]) -> dict[str, Any]:
    counters = [f"{way}-{what}" for way in ("rx", "tx") for what in ("bytes", "dropped", "errs", "packets")]
    return {
        "name": name,
        "hardware-address": hardware,
        "ip-addresses": [
            {"ip-address": four[0], "ip-address-type": "ipv4", "prefix": four[1]},
            {"ip-address": six[0], "ip-address-type": "ipv6", "prefix": six[1]},
        ],
        "statistics": dict.fromkeys(counters, 0),
    }


def fsinfo(call: Call, guest: Guest) -> list[dict[str, Any]]:
    if call.world.options.scenario == "recorded":
        return []
    total = call.world.maxdisk(guest)
    return [
        {"name": "sda1", "mountpoint": "/", "type": "ext4", "total-bytes": total, "used-bytes": total // 3, "disk": []}
    ]


def clock(call: Call, _guest: Guest) -> int:
    return int(call.world.now() * 1_000_000_000)


def info(_call: Call, guest: Guest) -> dict[str, Any]:
    off = {"guest-exec", "guest-exec-status"} if "exec" in guest.breaks else set()
    rows = [{"name": name, "enabled": name not in off, "success-response": True} for name in _COMMANDS]
    return {"version": "10.0.3", "supported_commands": rows}


def _get(answer: Callable[[Call, Guest], Any]) -> Handler:
    return lambda call: {"result": answer(call, ready(call))}


def ping(call: Call) -> dict[str, Any]:
    ready(call)
    return {"result": {}}


def execute(call: Call) -> dict[str, int]:
    """Pretend to run a command: those of `_OUTPUT` say something, `sleep` takes its time, `false` fails."""
    guest = ready(call)
    argv = call.params["command"]
    if "exec" in guest.breaks:
        raise ApiError(500, "Agent error: Command guest-exec has been disabled")
    if " " in argv[0] or argv[0].startswith("no-such"):
        raise ApiError(500, f"Agent error: Failed to execute child process “{argv[0]}” (No such file or directory)")
    call.world.agent_began.append(call.world.now())
    call.world.agent_runs.append((guest.vmid, list(argv), call.params.get("input-data", "")))
    pid = 100 + len(call.world.agent_runs)
    return {"pid": pid}


_OUTPUT: dict[str, Callable[[Guest, list[str]], str]] = {
    "seq": lambda _guest, argv: "".join(f"{number}\n" for number in range(1, int(argv[-1]) + 1)),
    "uname": lambda guest, _argv: f"Linux {guest.name} {KERNEL} #1 SMP PREEMPT_DYNAMIC x86_64 GNU/Linux\n",
    "hostname": lambda guest, _argv: f"{guest.name}\n",
    "echo": lambda _guest, argv: " ".join(argv[1:]) + "\n",
    "uptime": lambda _guest, _argv: " 12:00:00 up 3 days,  1:02,  0 users,  load average: 0.10, 0.08, 0.05\n",
}


def exec_status(call: Call) -> dict[str, Any]:
    guest = ready(call)
    place = call.params["pid"] - 101
    runs = call.world.agent_runs
    if not 0 <= place < len(runs) or runs[place][0] != guest.vmid:
        raise ApiError(500, f"Agent error: PID {call.params['pid']} does not exist")
    _, argv, given = runs[place]
    name = argv[0].rpartition("/")[2]
    if name == "sleep" and call.world.now() - call.world.agent_began[place] < float(argv[1]):
        return {"exited": 0}
    row: dict[str, Any] = {"exited": 1, "exitcode": int(name == "false"), "out-truncated": 0}
    if name in _OUTPUT:
        row["out-data"] = _OUTPUT[name](guest, argv)
    if name == "cat":
        row["out-data"] = given
    if name == "false":
        row["err-data"] = "it is false\n"
    return row


_ANSWERS = (
    ("get-osinfo", osinfo),
    ("get-host-name", host_name),
    ("network-get-interfaces", interfaces),
    ("get-fsinfo", fsinfo),
    ("get-time", clock),
    ("info", info),
)
_BASE = "/nodes/{node}/qemu/{vmid}/agent"
ROUTES: tuple[Route, ...] = (
    *(("GET", f"{_BASE}/{name}", _get(answer)) for name, answer in _ANSWERS),
    ("POST", f"{_BASE}/ping", ping),
    ("POST", f"{_BASE}/exec", execute),
    ("GET", f"{_BASE}/exec-status", exec_status),
)
