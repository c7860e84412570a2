"""What an approval is bound to, as bytes: the same facts give the same digest, any other fact another one."""

import hmac
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from mqtt_bridge.secret import Secret


def digest(key: bytes, facts: Mapping[str, Any]) -> str:
    """HMAC-SHA256 in hex. Keyed, since facts hold secrets that nobody shall try out against it."""
    text = json.dumps(_plain(facts), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hmac.digest(key, b"facts\0" + text.encode(), "sha256").hex()


def _plain(value: Any) -> Any:
    """JSON types; raises TypeError for anything whose text might not tell all of it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Secret):
        return {"secret": value.reveal()}
    if isinstance(value, BaseModel):
        return _plain(dict(value))
    if isinstance(value, Mapping):
        return {"map": [[_plain(key), _plain(value[key])] for key in sorted(value, key=str)]}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return {"set": sorted((_plain(item) for item in value), key=json.dumps)}
    raise TypeError(f"an approval cannot be bound to a {type(value).__name__}")
