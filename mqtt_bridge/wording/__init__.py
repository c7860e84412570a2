"""Pure tables: what the texts of Proxmox mean. `classify` never fails: what no rule knows is still an event."""

import logging
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from types import ModuleType

from mqtt_bridge.wording.clean import clean, one_line
from mqtt_bridge.wording.guess import guess_channel
from mqtt_bridge.wording.verdict import CHANNELS, Channel, Verdict

__all__ = ["CHANNELS", "Channel", "Verdict", "classify", "guess_channel"]

_LOG = logging.getLogger(__name__)
_Reader = Callable[[str | bytes, float | None], Verdict]

# Imported when first needed: a bridge that only listens to mail loads no syslog rules.
_READERS: Mapping[Channel, tuple[str, str]] = {
    "email": ("mail", "read_mail"),
    "zed": ("mail", "read_mail"),
    "smartd": ("mail", "read_mail"),
    "gotify": ("push", "read_push"),
    "webhook": ("push", "read_push"),
    "discord": ("push", "read_push"),
    "syslog": ("syslog", "read_syslog"),
    "clusterlog": ("clusterlog", "read_clusterlog"),
    "task": ("tasks", "read_task"),
}


def classify(channel: str, raw: str | bytes, *, now: float | None = None) -> Verdict:
    """What `raw`, as it came over `channel`, tells. An unknown channel is guessed from the text.

    `now` is what times without a year are read by; None is the present.
    """
    name = next((known for known in CHANNELS if known == channel), None) or guess_channel(raw)
    module, function = _READERS[name]
    reader: _Reader = getattr(_module(module), function)
    try:
        return reader(raw, now)
    except Exception:  # noqa: BLE001 -- a mistake in a rule must not cost an event; it is logged, and the text still told
        _LOG.exception("a rule for %s failed on %d characters; please report it", name, len(raw))
        return _unread(raw)


@cache
def _module(name: str) -> ModuleType:
    """`import_module` by itself costs 4 µs each time."""
    return import_module(f"{__name__}.{name}")


def _unread(raw: str | bytes) -> Verdict:
    text = raw[:20_000].decode("utf-8", "replace") if isinstance(raw, bytes) else raw[:20_000]
    first = next((line for line in text.split("\n") if line.strip()), "")
    return Verdict("system.mail", "info", title=one_line(first), message=clean(text), fields={"unread": True})
