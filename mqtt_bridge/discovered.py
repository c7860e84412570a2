"""Discovery configurations of ours as they lie at a broker: how they are known, and how they are taken back."""

import json

TRIGGER = "device_automation"
GONE = "_gone"  # behind the ids of entities that only exist for a moment
ORIGIN = "proxmox-mcp"  # the origin name in our configurations: others' are left alone


def is_ours(payload: bytes) -> bool:
    """Whether we wrote it."""
    try:
        config = json.loads(payload)
    except (ValueError, RecursionError):
        return False
    origin = config.get("o") or config.get("origin") if isinstance(config, dict) else None
    return isinstance(origin, dict) and origin.get("name") == ORIGIN


def _stays(identity: str | None) -> bool:
    """A component on its way out has no id any more, or one of these."""
    return identity is not None and not identity.endswith(GONE)


def shed(payload: bytes) -> bytes:
    """A stored configuration with other ids for its entities; empty where it has none, or is none.

    Home Assistant then makes other entities of those that are disabled, by us or by the user, and forgets what it would
    do when they are removed: clear the device's topic once for each, and warn that there is nothing to clear. The
    entities that are on stay as they are. Seen on 2025.4.
    """
    try:
        whole = json.loads(payload)
        found = [one for one in whole["cmps"].values() if one["p"] != TRIGGER and _stays(one.get("uniq_id"))]
        for one in found:
            one["uniq_id"] += GONE
            one.pop("en", None)
            one.pop("def_ent_id", None)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return b""
    return json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode() if found else b""
