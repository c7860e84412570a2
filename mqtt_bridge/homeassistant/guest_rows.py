"""The entities of a guest."""

from dataclasses import replace

from mqtt_bridge.homeassistant.entity import PERCENT, Does, Entity, Need, acknowledge, calm, get, scaled, yes

QEMU, LXC = frozenset({"qemu"}), frozenset({"lxc"})
STATES = ("running", "stopped", "paused", "suspended", "unknown")
EVENTS = (
    "started",
    "stopped",
    "stopped_unexpectedly",
    "migrated",
    "backup_ok",
    "backup_warning",
    "backup_failed",
    "snapshot",
)  # fmt: skip
# whose backup it is, for automations that look at all guests, whatever their entities are called
_WHOSE = (
    "{% set v=(value_json|default({})) %}{{ {'site': v.get('site'), 'vmid': v.get('vmid'), 'guest': v.get('name'),"
    " 'in_backup_job': v.get('backup_covered')}|tojson }}"
)
BACKUPS = (Need("/storage", "Datastore.AllocateSpace"), Need("/nodes", "Sys.Audit"))


def _rate(key: str, name: str, icon: str) -> Entity:
    return Entity(
        key, "sensor", name, scaled(key, 1000), "metrics",
        device_class="data_rate", unit="kB/s", state_class="measurement", precision=1, icon=icon, enabled=False,
    )  # fmt: skip


def _button(key: str, name: str, does: Does, icon: str = "", device_class: str = "", **more: bool) -> Entity:
    return Entity(
        key, "button", name, does=(does,), icon=icon, device_class=device_class, category="config", enabled=False,
        dangerous=more.get("dangerous", False),
    )  # fmt: skip


ROWS: tuple[Entity, ...] = (
    Entity("running", "binary_sensor", "Running", yes("v.status=='running'"), device_class="running"),
    Entity(
        "cpu", "sensor", "CPU usage", calm("cpu_percent"), "metrics",
        unit=PERCENT, state_class="measurement", precision=1, icon="mdi:cpu-64-bit",
    ),
    Entity(
        "memory", "sensor", "Memory usage", calm("mem_percent"), "metrics",
        unit=PERCENT, state_class="measurement", precision=1, icon="mdi:memory",
    ),
    Entity(
        "last_backup", "sensor", "Last backup", get("last_backup"),
        device_class="timestamp", icon="mdi:archive-clock", needs=BACKUPS, attributes=_WHOSE,
    ),
    Entity(
        "backup_problem", "binary_sensor", "Backup problem",
        yes("not v.backup_covered or v.get('backup_stale')", "backup_covered"), device_class="problem",
        needs=(Need("/vms", "VM.Audit"),),
    ),
    Entity(
        "power", "switch", "Power", yes("v.status=='running'"), device_class="switch", icon="mdi:power",
        does=(Does("start", "guest.start"), Does("shutdown", "guest.shutdown")),
    ),
    Entity("event", "event", "Event", options=EVENTS, icon="mdi:bell-outline", reach="site"),
    Entity(
        "status", "sensor", "Status", get("status"),
        device_class="enum", options=STATES, icon="mdi:state-machine", category="diagnostic", enabled=False,
    ),
    Entity(
        "disk", "sensor", "Disk usage", calm("disk_percent", move=0.5), "metrics", variants=LXC,
        unit=PERCENT, state_class="measurement", precision=1, icon="mdi:harddisk", enabled=False,
    ),
    _rate("netin_rate", "Network in", "mdi:download-network"),
    _rate("netout_rate", "Network out", "mdi:upload-network"),
    _rate("diskread_rate", "Disk read", "mdi:harddisk"),
    _rate("diskwrite_rate", "Disk write", "mdi:harddisk"),
    Entity(
        "started", "sensor", "Started", get("started_at"),
        device_class="timestamp", icon="mdi:clock-start", category="diagnostic", enabled=False,
    ),
    Entity(
        "agent", "binary_sensor", "Guest agent", yes("v.agent", "agent"), variants=QEMU,
        icon="mdi:robot", category="diagnostic", enabled=False,
    ),
    Entity(
        "ip", "sensor", "IP address", "{{ ((value_json|default({})).get('ips') or [none])[0] }}",
        icon="mdi:ip-network", category="diagnostic", enabled=False, needs=(Need("/vms", "VM.GuestAgent.Audit"),),
        variants=QEMU,
    ),
    Entity("node", "sensor", "Node", get("node"), icon="mdi:server", category="diagnostic", enabled=False),
    acknowledge(),
    _button("reboot", "Reboot", Does("reboot", "guest.reboot"), device_class="restart"),
    replace(_button("suspend", "Pause", Does("suspend", "guest.suspend"), "mdi:pause"), variants=QEMU),
    replace(_button("resume", "Resume", Does("resume", "guest.resume"), "mdi:play"), variants=QEMU),
    replace(_button("hibernate", "Hibernate", Does("hibernate", "guest.hibernate"), "mdi:power-sleep"), variants=QEMU),
    _button("snapshot", "Snapshot", Does("snapshot", "snapshot.create"), "mdi:camera"),
    _button("backup", "Backup", Does("backup", "backup.create"), "mdi:backup-restore"),
    _button("stop", "Force stop", Does("stop", "guest.stop"), "mdi:power-plug-off", dangerous=True),
    replace(
        _button("reset", "Reset", Does("reset", "guest.reset"), "mdi:restart-alert", dangerous=True), variants=QEMU
    ),
)  # fmt: skip
