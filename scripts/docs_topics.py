"""`docs/topics.md`, from the topic table and the models of the payloads."""

import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from mqtt_bridge import model
from mqtt_bridge.topics import TABLE, TopicKind

HEAD = """\
# Topics

This page is made from the code by `scripts/make_docs.py`.

The base is `proxmox` (`MQTT_BASE_TOPIC`). `<site>` is the name of a cluster, a standalone host or a Backup Server, made
of the settings alone, so it never changes by itself. A guest's topic does not contain its node: it survives migration.

- A payload is JSON unless it says text. A figure that is not known is `null`, never 0; a list that is not known is
  `null`, never empty.
- A state is published when it changes. Figures (`…/metrics`) are published when cpu or memory moved by 2 percentage
  points or a rate by 5 %, and at least every `METRICS_MAX_AGE` seconds.
- Something is gone when a destroy task was seen, or when three complete polls and a direct read say so. It is
  published as unavailable first, then its topics are cleared. A token that loses its rights gets empty lists from
  Proxmox: nothing is cleared then, the site becomes `degraded`, and `bridge/<bridge>/info` names the privilege.
- After a reconnect to the broker everything retained is published again. What somebody else writes on these topics is
  put right within seconds, and what an earlier run left behind is cleared after the first complete poll.
- `proxmox/bridge/<bridge>/state` is `online`, and `offline` by the last will or at a clean end.

"""

AFTER = """\
## Freshness

`proxmox/<site>/heartbeat` comes at every poll, also at one that failed: `polled_at` is when the last good one began,
`interval_s` how often a poll is due, `reason` why the last one failed or what cannot be seen. Data is stale when
`polled_at` is older than three intervals, when `<site>/state` is `offline`, or when the bridge is `offline`.

## One writer

A site has one writer. A bridge that finds a live one at the same site refuses to start, or waits with `--standby`.

## Reading many topics

A broker may silently drop what exceeds its queue when a subscriber asks for thousands of retained messages (Mosquitto:
`max_queued_messages`, 1000). Subscribe at QoS 0, kind by kind, and compare with `<site>/manifest`.
"""


def topics() -> str:
    """The page."""
    table = "| topic | payload | QoS | retained |\n| --- | --- | --- | --- |\n" + "".join(_row(kind) for kind in TABLE)
    return HEAD + table + "\n" + AFTER + "\n## Payloads\n" + "".join(_payloads())


def _row(kind: TopicKind) -> str:
    shown = kind.pattern.replace("<rest>", "<kind, dots as slashes>")
    name = kind.payload.__name__
    payload = f"[{name}](#{name.lower()})" if _is_model(kind.payload) else "text"
    return f"| `proxmox/{shown}` | {payload} | {kind.qos} | {'yes' if kind.retain else 'no'} |\n"


def _is_model(payload: type) -> bool:
    return issubclass(payload, model.Model)


def _payloads() -> Iterator[str]:
    kinds: list[type[model.Model]] = [k.payload for k in TABLE if issubclass(k.payload, model.Model)]
    kinds += [model.NotifyResult, model.TaskInfo, model.JobRun, model.MissingPrivilege]
    kinds += [model.PendingApproval, model.HomeAssistantInfo]
    for payload in dict.fromkeys(kinds):
        yield f"\n### {payload.__name__}\n\n{_doc(payload)}\n\n| field | type | |\n| --- | --- | --- |\n"
        for name, field in payload.model_fields.items():
            yield _field(name, field)


def _doc(payload: type) -> str:
    return " ".join((payload.__doc__ or "").split())


def _field(name: str, field: FieldInfo) -> str:
    return f"| `{name}` | {_type(field.annotation)} | {field.description or ''} |\n"


def _type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(a) for a in arguments))
    if origin is typing.Literal:
        return " ".join(f"`{a}`" for a in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return "object"
    names = {str: "text", int: "integer", float: "number", bool: "true/false", type(None): "null"}
    return names.get(annotation, getattr(annotation, "__name__", "any"))
