"""Discovery configurations of ours as they lie at a broker: how they are known, and how they are taken back."""

import json

ORIGIN = "proxmox-mcp"  # the origin name in our configurations: others' are left alone


def is_ours(payload: bytes) -> bool:
    """Whether we wrote it."""
    try:
        config = json.loads(payload)
    except ValueError:
        return False
    origin = config.get("o") or config.get("origin") if isinstance(config, dict) else None
    return isinstance(origin, dict) and origin.get("name") == ORIGIN


def shed(payload: bytes) -> bytes:
    """A stored configuration with other ids for what is off at first; empty where nothing is.

    Home Assistant then makes other entities of them and forgets what it would do when the disabled ones are removed:
    clear the device's topic once for each, and warn that there is nothing to clear. Seen on 2025.4.
    """
    try:
        whole = json.loads(payload)
        off = [one for one in whole["cmps"].values() if one.get("en") is False]
        for one in off:
            one["uniq_id"] += "_gone"
            del one["en"]
            one.pop("def_ent_id", None)
    except (ValueError, TypeError, KeyError, AttributeError):
        return b""
    return json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode() if off else b""
