"""Every topic: build, parse, payload type, QoS, retain. There is no topic literal anywhere else."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from mqtt_bridge import model

SITE_SLUG = re.compile(r"[a-z0-9_-]{1,64}")
RESERVED_SITES = frozenset({"bridge", "unassigned"})
_FIELD = re.compile(r"<(\w+)>")
_FORBIDDEN = frozenset("+#\0")


@dataclass(frozen=True)
class TopicKind:
    """One row of the table. `pattern` is below the base; `<severity_kind>` alone spans several levels."""

    name: str
    pattern: str
    payload: type[model.Model] | type[str]
    qos: int
    retain: bool
    inbound: bool = False

    @cached_property
    def regex(self) -> re.Pattern[str]:
        literal = re.split(r"(<\w+>)", self.pattern)
        return re.compile("".join(_group(p) if p.startswith("<") else re.escape(p) for p in literal))

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The ids that its pattern takes."""
        return tuple(_FIELD.findall(self.pattern))

    @cached_property
    def template(self) -> str:
        """The pattern for the `%` operator."""
        return _FIELD.sub("%s", self.pattern.replace("%", "%%"))


def _group(field: str) -> str:
    name = field[1:-1]
    return rf"(?P<{name}>.+)" if name == "rest" else rf"(?P<{name}>[^/+#]+)"


TABLE: tuple[TopicKind, ...] = (
    TopicKind("bridge_state", "bridge/<bridge>/state", str, 1, True),
    TopicKind("bridge_info", "bridge/<bridge>/info", model.BridgeInfo, 1, True),
    TopicKind("history_request", "bridge/<bridge>/request/history", model.HistoryRequest, 1, False, inbound=True),
    TopicKind("history_answer", "bridge/<bridge>/response/history", model.HistoryAnswer, 1, False),
    TopicKind("site_state", "<site>/state", str, 1, True),
    TopicKind("heartbeat", "<site>/heartbeat", model.Heartbeat, 0, True),
    TopicKind("manifest", "<site>/manifest", model.Manifest, 1, True),
    TopicKind("cluster", "<site>/cluster", model.ClusterState, 1, True),
    TopicKind("node", "<site>/node/<node>", model.NodeState, 1, True),
    TopicKind("node_metrics", "<site>/node/<node>/metrics", model.NodeMetrics, 0, True),
    TopicKind("guest", "<site>/guest/<vmid>", model.GuestState, 1, True),
    TopicKind("guest_metrics", "<site>/guest/<vmid>/metrics", model.GuestMetrics, 0, True),
    TopicKind("storage", "<site>/storage/<node>/<storage>", model.StorageState, 0, True),
    TopicKind("shared_storage", "<site>/shared_storage/<storage>", model.StorageState, 0, True),
    TopicKind("datastore", "<site>/datastore/<store>", model.DatastoreState, 1, True),
    TopicKind("disk", "<site>/node/<node>/disk/<disk>", model.DiskState, 1, True),
    TopicKind("zpool", "<site>/node/<node>/zfs/<pool>", model.ZfsPoolState, 1, True),
    TopicKind("tasks", "<site>/tasks", model.TaskList, 0, True),
    TopicKind("events", "<site>/events", model.EventList, 0, True),
    TopicKind("event", "<site>/event/<severity>/<rest>", model.Event, 1, False),
    TopicKind("guest_event", "<site>/guest/<vmid>/event", model.DeviceEvent, 1, False),
    TopicKind("node_event", "<site>/node/<node>/event", model.DeviceEvent, 1, False),
    TopicKind("cluster_event", "<site>/cluster/event", model.DeviceEvent, 1, False),
    TopicKind("site_upkeep", "<site>/upkeep", model.SiteUpkeep, 1, True),
    TopicKind("node_upkeep", "<site>/node/<node>/upkeep", model.NodeUpkeep, 1, True),
    TopicKind("site_shutdown", "<site>/shutdown", model.SiteShutdown, 1, True),
    TopicKind("notify", "<site>/notify", model.NotifyRequest, 1, False, inbound=True),
    TopicKind("guest_command", "<site>/guest/<vmid>/command", model.CommandRequest, 1, False, inbound=True),
    TopicKind("node_command", "<site>/node/<node>/command", model.CommandRequest, 1, False, inbound=True),
    TopicKind("datastore_command", "<site>/datastore/<store>/command", model.CommandRequest, 1, False, inbound=True),
    TopicKind("site_command", "<site>/command", model.CommandRequest, 1, False, inbound=True),
    TopicKind("approval", "<site>/approval/<id>", model.Approval, 1, True),
    TopicKind(
        "approval_decision", "<site>/approval/<id>/decision/<who>", model.ApprovalDecision, 1, False, inbound=True
    ),
    TopicKind("result", "<site>/result/<id>", model.CommandResult, 1, False),
    TopicKind("triage", "<site>/triage/<event>", model.Triage, 1, False),
)
KINDS: dict[str, TopicKind] = {kind.name: kind for kind in TABLE}


@dataclass(frozen=True)
class Parsed:
    """A topic of ours, taken apart: `ids` has the pattern's fields by name."""

    kind: TopicKind
    ids: dict[str, str]

    @property
    def site(self) -> str:
        return self.ids.get("site", "")


@dataclass(frozen=True)
class DiscoveryTopics:
    """Home Assistant's own topics, below HA_DISCOVERY_PREFIX. Its birth message is below `homeassistant` always."""

    prefix: str = "homeassistant"

    def config(self, identity: str) -> str:
        """Where a device's configuration lies."""
        return f"{self.prefix}/device/{identity}/config"

    def identity(self, topic: str) -> str | None:
        """The device of such a topic."""
        found = re.fullmatch(rf"{re.escape(self.prefix)}/device/([A-Za-z0-9_-]+)/config", topic)
        return found[1] if found else None

    def trigger(self, identity: str, key: str) -> str:
        """Where one of its device triggers lies."""
        return f"{self.prefix}/device_automation/{identity}/{key}/config"

    @property
    def configs(self) -> str:
        """A filter for the configurations of all devices, of others too."""
        return f"{self.prefix}/device/+/config"

    @property
    def triggers(self) -> str:
        """A filter for the triggers of all devices, of others too."""
        return f"{self.prefix}/device_automation/+/+/config"

    @property
    def births(self) -> tuple[str, ...]:
        """Where Home Assistant says that it has started."""
        return tuple(dict.fromkeys((f"{self.prefix}/status", "homeassistant/status")))


class Topics:
    """Builds and parses the topics below one base (MQTT_BASE_TOPIC)."""

    def __init__(self, base: str = "proxmox") -> None:
        self.base = base.strip("/")

    def build(self, kind: str, **ids: str | int) -> str:
        """The topic of `kind`; raises KeyError for a missing id and ValueError for one MQTT cannot carry."""
        row = KINDS[kind]
        levels = tuple(_level(str(ids[name]), whole=name != "rest") for name in row.fields)
        return f"{self.base}/{row.template % levels}"

    def filter(self, kind: str, **ids: str | int) -> str:
        """A subscription for every topic of `kind`, or for those with the given ids."""
        row = KINDS[kind]
        return f"{self.base}/" + _FIELD.sub(
            lambda m: _level(str(ids[m[1]])) if m[1] in ids else ("#" if m[1] == "rest" else "+"), row.pattern
        )

    def event(self, site: str, event: model.Event) -> str:
        """`…/event/<severity>/<kind, dots as slashes>`."""
        return self.build("event", site=site, severity=event.severity, rest=event.kind.replace(".", "/"))

    def parse(self, topic: str) -> Parsed | None:
        """The row and ids of a topic of ours, else None."""
        if not topic.startswith(f"{self.base}/"):
            return None
        below = topic[len(self.base) + 1 :]
        levels = below.split("/")
        if len(levels) == 1:
            return None
        for row in _candidates(len(levels), bridge=levels[0] == "bridge", second=levels[1]):
            if found := row.regex.fullmatch(below):
                return Parsed(row, found.groupdict())
        return None


def _level(text: str, *, whole: bool = True) -> str:
    if not text or not _FORBIDDEN.isdisjoint(text) or (whole and "/" in text):
        raise ValueError(f"{text!r} cannot stand in an MQTT topic")
    return text


@lru_cache(maxsize=256)
def _candidates(levels: int, *, bridge: bool, second: str) -> tuple[TopicKind, ...]:
    """The rows that such a topic can be of; a site cannot be called `bridge`."""
    return tuple(row for row in TABLE if _could_be(row.pattern.split("/"), levels, bridge=bridge, second=second))


def _could_be(pattern: Sequence[str], levels: int, *, bridge: bool, second: str) -> bool:
    fits = len(pattern) == levels or (pattern[-1] == "<rest>" and len(pattern) < levels)
    return fits and (pattern[0] == "bridge") == bridge and (pattern[1] == second or pattern[1].startswith("<"))
