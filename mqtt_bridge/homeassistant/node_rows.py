"""The entities of a node."""

from mqtt_bridge.homeassistant.entity import PERCENT, Does, Entity, Need, acknowledge, calm, get, scaled, yes

PVE = frozenset({"pve"})
AUDIT = (Need("/nodes", "Sys.Audit"), Need("/system", "Sys.Audit"))
EVENTS = ("online", "offline", "fenced", "task_failed", "update_available")
LASTS = "24h"  # a maintenance that is switched on and forgotten ends then
MAINTENANCE = (
    Does(
        "maintenance", args=f'{{"duration":"{LASTS}"}}', evacuating=f'{{"duration":"{LASTS}","evacuate":true}}'
    ),
    Does("maintenance_end"),
)  # fmt: skip
UNTIL = "{{ {'until': (value_json|default({})).get('maintenance_until')}|tojson }}"
_EVACUATION = "{{ ((value_json|default({})).get('evacuation') or {})"
_VERSION = "((v.get('version') or '').split('/')+['',''])"
# Proxmox tells the packages that wait, not what they make of its version: their number stands for it
_UPDATE = (
    "{% set v=(value_json|default({})) %}{% if v.get('updates') is not none and v.get('version') %}"
    f"{{% set now={_VERSION}[1] %}}{{% set n=v.updates %}}"
    "{{ {'installed_version': now, 'latest_version': now if n==0 else now~' + '~n~' packages',"
    " 'release_summary': '' if n==0 else n~' packages can be upgraded.',"
    " 'in_progress': false, 'update_percentage': none}|tojson }}{% endif %}"
)


def _figure(key: str, name: str, value: str, icon: str, **more: object) -> Entity:
    fields = {"unit": PERCENT, "precision": 1, "state_class": "measurement", **more}
    return Entity(key, "sensor", name, value, "metrics", icon=icon, **fields)  # type: ignore[arg-type]


def _button(key: str, name: str, action: str, icon: str = "", **more: object) -> Entity:
    fields = {"category": "config", "enabled": False, "variants": PVE, **more}
    return Entity(key, "button", name, does=(Does(key, action),), icon=icon, **fields)  # type: ignore[arg-type]


ROWS: tuple[Entity, ...] = (
    Entity(
        "online", "binary_sensor", "Online",
        "{% set s=(value_json|default({})).get('status') %}{{ {'online': 'ON', 'offline': 'OFF'}.get(s) }}",
        device_class="connectivity", reach="site",
    ),
    _figure("cpu", "CPU usage", calm("cpu_percent"), "mdi:cpu-64-bit", needs=AUDIT),
    _figure("memory", "Memory usage", calm("mem_percent"), "mdi:memory", needs=AUDIT),
    _figure("disk", "Root disk usage", calm("disk_percent", move=0.5), "mdi:harddisk", needs=AUDIT),
    _figure("guests_running", "Guests running", get("guests_running"), "mdi:play-box-multiple", unit="", precision=None,
            variants=PVE),
    Entity(
        "failed_tasks", "sensor", "Failed tasks", get("failed_tasks"), "upkeep", needs=AUDIT, reach="site",
        state_class="measurement", icon="mdi:clipboard-alert-outline",
        attributes="{{ {'last_failure': (value_json|default({})).get('last_failure')}|tojson }}",
    ),
    Entity(
        "updates", "update", "Updates", _UPDATE, variants=PVE, needs=(Need("/nodes", "Sys.Modify"),),
        category="config",
    ),
    Entity(
        "maintenance", "switch", "Maintenance", yes("v.maintenance", "maintenance"), "upkeep",
        icon="mdi:wrench-clock", does=MAINTENANCE, reach="bridge", attributes=UNTIL,
    ),
    Entity(
        "evacuation", "sensor", "Evacuation", f"{_EVACUATION}.get('state') }}}}", "upkeep", device_class="enum",
        options=("idle", "running", "done", "incomplete"), icon="mdi:exit-run", category="diagnostic", reach="bridge",
        variants=PVE, needs=(Need("/vms", "VM.Migrate"),), evacuation=True,
        attributes="{% set e=((value_json|default({})).get('evacuation') or {}) %}"
        "{{ {'message': e.get('message'), 'moved': e.get('moved', []), 'left': e.get('left', [])}|tojson }}",
    ),
    Entity("event", "event", "Event", options=EVENTS, icon="mdi:bell-outline", reach="site"),
    _figure("load", "Load", get("load1"), "mdi:gauge", unit="", precision=2, enabled=False, category="diagnostic",
            needs=AUDIT),
    _figure("swap", "Swap used", scaled("swap", 2**30), "mdi:harddisk", unit="GiB", precision=1,
            device_class="data_size", enabled=False, category="diagnostic", needs=AUDIT),
    _figure("io_wait", "IO wait", calm("io_wait_percent"), "mdi:timer-sand", enabled=False, category="diagnostic",
            needs=AUDIT),
    Entity("started", "sensor", "Started", get("booted_at"), device_class="timestamp", icon="mdi:clock-start",
           category="diagnostic", enabled=False, needs=AUDIT),
    Entity(
        "certificate", "sensor", "Certificate expires", get("certificate_expires"), device_class="timestamp",
        icon="mdi:certificate", category="diagnostic", enabled=False, variants=PVE, needs=AUDIT,
    ),
    acknowledge("bridge"),
    _button("startall", "Start all guests", "node.startall", "mdi:play-box-multiple"),
    _button("wakeonlan", "Wake on LAN", "node.wakeonlan", "mdi:power", reach="site"),
    _button("stopall", "Shut down all guests", "node.stopall", "mdi:stop-circle", dangerous=True),
    _button("reboot", "Reboot", "node.reboot", dangerous=True, device_class="restart"),
    _button("shutdown", "Shutdown", "node.shutdown", "mdi:power-plug-off", dangerous=True),
)  # fmt: skip
