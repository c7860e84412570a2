"""The entities of a cluster (or standalone host, or Backup Server) as a whole, of storages and of datastores."""

from dataclasses import replace
from typing import get_args

from mqtt_bridge.homeassistant.entity import DATA, PERCENT, Does, Entity, Need, acknowledge, calm, get, yes
from mqtt_bridge.homeassistant.node_rows import MAINTENANCE, UNTIL
from mqtt_bridge.model import SiteShutdown

CLUSTER, PVE, SERVER = frozenset({"cluster"}), frozenset({"cluster", "standalone"}), frozenset({"pbs"})
SERVER_EVENTS = ("api_offline", "api_online", "approval_requested", "approval_decided")
EVENTS = (
    "quorum_lost",
    "quorum_ok",
    "ha_error",
    "ha_recovered",
    "ha_state",
    *SERVER_EVENTS,
)
SHUTDOWN_STATES = get_args(SiteShutdown.model_fields["state"].annotation)
_SHUTDOWN = f"{{{{ {DATA}|tojson }}}}"
RUNS = ("ok", "warning", "failed", "running")
_AUDIT = (Need("/nodes", "Sys.Audit"),)
# The newest ten of the site's list, in few words: attributes of more than 16 kB are not recorded.
_RECENT = (
    f"{{% set n=namespace(l=[]) %}}{{% for e in ({DATA}.get('events',[])|rejectattr('duplicate_of')|list)[:10] %}}"
    "{% set n.l=n.l+[{'at':e.get('timestamp'),'severity':e.get('severity'),'title':(e.get('title')or'')[:120],"
    "'node':e.get('node'),'vmid':e.get('guest')}] %}{% endfor %}{{ {'events':n.l}|tojson }}"
)
_NEWEST = f"{{{{ ({DATA}.get('events') or [{{}}])[0].get('timestamp') }}}}"
_GUESTS = (Need("/vms", "VM.Audit"),)
_STORAGES = (Need("/storage", "Datastore.Audit"),)


def _count(key: str, name: str, icon: str, **more: object) -> Entity:
    fields = {"state_class": "measurement", "icon": icon, "enabled": False, "category": "diagnostic", **more}
    return Entity(key, "sensor", name, get(key), **fields)  # type: ignore[arg-type]


CLUSTER_ROWS: tuple[Entity, ...] = (
    Entity("api", "binary_sensor", "API", "{{ 'OFF' if value=='offline' else 'ON' }}", "site",
           device_class="connectivity", category="diagnostic", reach="bridge"),
    Entity("quorum_problem", "binary_sensor", "Quorum problem", yes("not v.quorate", "quorate"),
           device_class="problem", variants=CLUSTER, needs=_AUDIT, reach="site"),
    Entity("ha_problem", "binary_sensor", "High availability problem", yes("v.ha_errors", "ha_managed"),
           device_class="problem", variants=CLUSTER, needs=_AUDIT, reach="site",
           attributes="{{ {'services': (value_json|default({})).get('ha_errors', [])}|tojson }}"),
    Entity("approvals", "sensor", "Pending approvals", get("pending_approvals"), "upkeep", state_class="measurement",
           icon="mdi:account-check", reach="bridge",
           attributes="{{ {'approvals': (value_json|default({})).get('approvals', [])}|tojson }}"),
    Entity("maintenance", "switch", "Maintenance", yes("v.maintenance", "maintenance"), "upkeep",
           icon="mdi:wrench-clock", does=MAINTENANCE, reach="bridge", attributes=UNTIL),
    Entity("event", "event", "Event", options=EVENTS, icon="mdi:bell-outline", reach="bridge", variants=PVE),
    Entity("event", "event", "Event", options=SERVER_EVENTS, icon="mdi:bell-outline", reach="bridge", variants=SERVER),
    Entity("recent", "sensor", "Recent events", _NEWEST, "events", device_class="timestamp", icon="mdi:timeline-text",
           reach="bridge", attributes=_RECENT),
    acknowledge("bridge"),
    Entity("shutdown", "sensor", "Shutdown", get("state"), "shutdown", device_class="enum", options=SHUTDOWN_STATES,
           icon="mdi:power-plug-off", variants=PVE, reach="bridge", shutdown=True, attributes=_SHUTDOWN),
    Entity("shut_down", "button", "Shut down site", does=(Does("shutdown"),), icon="mdi:power", category="config",
           enabled=False, dangerous=True, variants=PVE, reach="site", shutdown=True),
    Entity("shutdown_abort", "button", "Abort shutdown", does=(Does("shutdown_abort"),), icon="mdi:power-off",
           category="config", variants=PVE, reach="bridge", shutdown=True),
    _count("guests_running", "Guests running", "mdi:play-box-multiple", variants=PVE, needs=_GUESTS, reach="site"),
    _count("guests_total", "Guests", "mdi:monitor-multiple", variants=PVE, needs=_GUESTS, reach="site"),
    _count("nodes_online", "Nodes online", "mdi:server", variants=CLUSTER, reach="site"),
    Entity("not_backed_up", "sensor", "Guests without backup job",
           f"{{% set v={DATA}.get('not_backed_up') %}}{{{{ none if v is none else v|count }}}}",
           state_class="measurement", icon="mdi:backup-restore", category="diagnostic", enabled=False, variants=PVE,
           needs=_GUESTS, reach="site"),
)  # fmt: skip

USED = Entity("used", "sensor", "Used", calm("used_percent", move=0.5, jump=10), unit=PERCENT, precision=1,
              state_class="measurement", icon="mdi:database")  # fmt: skip

# Full, or away while its node is there. One that is being removed is unavailable too, but its figures are still known:
# that is no problem, and the entity goes first.
_THERE = (
    f"{{% set v={DATA} %}}"
    "{{ 'offline' if not v or (not v.available and not v.get('error') and v.used is not none) else 'online' }}"
)
STORAGE_ROWS: tuple[Entity, ...] = (
    replace(USED, needs=_STORAGES),
    Entity("problem", "binary_sensor", "Problem", yes("not v.available or (v.used_percent or 0)>={full}"),
           device_class="problem", reach="place", needs=_STORAGES,
           alive=_THERE),
)  # fmt: skip


def _job(key: str, name: str, icon: str) -> Entity:
    return Entity(
        f"{key}_status", "sensor", name, f"{{{{ ({DATA}.get('{key}') or {{}}).get('status') }}}}", device_class="enum",
        options=RUNS, icon=icon, category="diagnostic", enabled=False,
        attributes=f"{{{{ {{'ended_at': ({DATA}.get('{key}') or {{}}).get('ended_at'),"
                   f" 'message': ({DATA}.get('{key}') or {{}}).get('message')}}|tojson }}}}",
    )  # fmt: skip


def _button(key: str, name: str, icon: str, *, dangerous: bool = False) -> Entity:
    return Entity(key, "button", name, does=(Does(key, f"datastore.{key}"),), icon=icon, category="config",
                  enabled=False, dangerous=dangerous)  # fmt: skip


DATASTORE_ROWS: tuple[Entity, ...] = (
    USED,
    Entity("problem", "binary_sensor", "Problem", yes("v.error or not v.available or (v.used_percent or 0)>={full}"),
           device_class="problem", reach="site", alive=_THERE,
           attributes=f"{{{{ {{'error': {DATA}.get('error')}}|tojson }}}}"),
    Entity("last_backup", "sensor", "Last backup", get("last_backup"), device_class="timestamp",
           icon="mdi:archive-clock"),
    Entity("estimated_full", "sensor", "Estimated full", get("estimated_full"), device_class="timestamp",
           icon="mdi:database-clock", category="diagnostic", enabled=False),
    Entity("unverified", "sensor", "Failed verifications", get("unverified"), state_class="measurement",
           icon="mdi:shield-alert-outline", category="diagnostic", enabled=False),
    _job("gc", "Garbage collection", "mdi:delete-sweep"),
    _job("verify", "Verification", "mdi:shield-check"),
    _job("sync", "Sync", "mdi:sync"),
    _job("prune", "Prune", "mdi:content-cut"),
    _button("verify", "Verify", "mdi:shield-check"),
    _button("gc", "Collect garbage", "mdi:delete-sweep", dangerous=True),
)  # fmt: skip
