"""What a client of /ws says: which states and events it wants, and its token where it could not send a header."""

import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.model import SEVERITIES, Event, Severity
from mqtt_bridge.topics import TABLE
from proxmox_mcp.store import Key

STATES = tuple(kind.name for kind in TABLE if kind.retain)
HIDDEN = frozenset({"approval"})  # these belong to who asked for them: MQTT has them for approvers
QUIET = frozenset({"heartbeat", "manifest", "events", "tasks"})  # only for those that ask for them by name
Globs = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=100)], ...], Field(max_length=50)]


class WantedError(BridgeError):
    """What a client sent cannot be used."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Wanted(_Message):
    """A subscription. `states` and `kinds` are globs; an empty list is none of them. `sites`: None is all."""

    sites: Globs | None = None
    kinds: Globs = ("*",)
    min_severity: Severity = "info"
    states: Globs = tuple(name for name in STATES if name not in QUIET | HIDDEN)
    snapshot: bool = False

    def state(self, key: Key) -> bool:
        """Whether a state of this key is wanted. What belongs to no site (the bridge) is in every one."""
        site, kind, _ = key
        return kind not in HIDDEN and self._site(site) and any(fnmatchcase(kind, glob) for glob in self.states)

    def event(self, event: Event) -> bool:
        """Whether this event is wanted."""
        severe = SEVERITIES.index(event.severity) >= SEVERITIES.index(self.min_severity)
        return severe and self._site(event.site or "") and any(fnmatchcase(event.kind, glob) for glob in self.kinds)

    def _site(self, site: str) -> bool:
        return self.sites is None or not site or site in self.sites


class Subscribe(Wanted):
    """In place of what was wanted before."""

    type: Literal["subscribe"]


class Auth(_Message):
    """The token of a client that cannot set headers: a browser."""

    type: Literal["auth"]
    token: str = Field(max_length=4096, repr=False)


class Snapshot(_Message):
    """All states that are wanted, now."""

    type: Literal["snapshot"]


class Ping(_Message):
    """Answered with a pong, for clients that cannot send WebSocket pings."""

    type: Literal["ping"]


Said = Auth | Subscribe | Snapshot | Ping
_SAID: TypeAdapter[Said] = TypeAdapter(Annotated[Said, Field(discriminator="type")])
_LISTS = ("sites", "kinds", "states")


def said(text: str) -> Said:
    """One message of a client. Raises WantedError; what was sent is not repeated."""
    try:
        return _SAID.validate_python(json.loads(text))
    except ValidationError as error:
        raise _wrong(error) from None
    except (ValueError, RecursionError):
        raise WantedError('This is no JSON object. Send for example {"type": "subscribe", "kinds": ["*"]}.') from None


def queried(query: Iterable[tuple[str, str]]) -> Wanted:
    """A subscription from a URL's query: `?sites=lab&kinds=backup.*,guest.*&min_severity=warning&snapshot=true`."""
    fields: dict[str, Any] = dict(query)
    for name in _LISTS:
        if name in fields:
            fields[name] = tuple(part for part in fields[name].split(",") if part)
    try:
        return Wanted.model_validate(fields)
    except ValidationError as error:
        raise _wrong(error) from None


def _wrong(error: ValidationError) -> WantedError:
    first: Mapping[str, Any] = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "message"
    known = f"Of a subscription there are {', '.join(Wanted.model_fields)}."
    return WantedError(f"{where}: {first['msg']}. {known}")
