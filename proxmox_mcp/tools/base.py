"""What a tool is: one self-describing value. What it gets: a Call. What all lists share: filters and pages."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from mqtt_bridge.errors import BridgeError, UnknownTargetError
from mqtt_bridge.model import Model, utc
from mqtt_bridge.settings import Level, Settings, allows
from proxmox_mcp.state import State
from proxmox_mcp.view import Answer, View

if TYPE_CHECKING:
    from mqtt_bridge.approvals import Ask
    from mqtt_bridge.policy import Principal
    from mqtt_bridge.proxmox.client import ProxmoxClient
    from proxmox_mcp.control import Orders

T = TypeVar("T")
Row = TypeVar("Row", bound=Model)
Toolset = Literal[
    "core", "power", "history", "snapshots", "backups", "provision", "hardware", "guest", "iac", "notify"
]  # fmt: skip
Progress = Callable[[float, float | None, str], Awaitable[None]]
LIMIT = 100  # rows of a page unless asked otherwise
MOST = 1000


@dataclass(frozen=True)
class Services:
    """What tools work with. Without `clients` and `actions` only MQTT is read."""

    settings: Settings
    state: State
    clients: "Mapping[str, ProxmoxClient]" = field(default_factory=dict)
    actions: "Orders | None" = None
    clock: Callable[[], float] = time.time


@dataclass(frozen=True)
class Call:
    """One call of a tool: who asks, and how to tell of progress (seconds, out of, text).

    `ask` and `approval` are for `Actions.perform`: the person at the client, and the approval that this call goes on
    with because its client repeats it with that person's answer.
    """

    services: Services
    principal: "Principal"
    progress: Progress
    ask: "Ask | None" = None
    approval: str | None = None

    async def view(self) -> View:
        """What to read from; see State.view."""
        return await self.services.state.view()

    def client(self, site: str) -> "ProxmoxClient":
        """The API of a site; raises UnknownTargetError where its hosts are not configured here."""
        client = self.services.clients.get(site)
        if client is None:
            raise UnknownTargetError(
                f"The hosts of site {site!r} are not configured here, so Proxmox cannot be asked directly.",
                cure="Give this process the same PROXMOX_* or PVE_* settings as the bridge.",
            )
        return client


Old = Mapping[str, str | None]


class Arguments(BaseModel):
    """A tool's arguments. Unknown ones are refused: a misspelt filter must not return everything.

    `old` are names that callers of earlier servers send (docs/migrating.md): what each is called here, None where
    there is nothing to say. They are accepted and not listed.
    """

    old: ClassVar[Old] = {}
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _known_by_their_old_names(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or cls.old.keys().isdisjoint(given):
            return given
        kept = {name: value for name, value in given.items() if name not in cls.old}
        for name in given.keys() & cls.old.keys():
            new = cls.old[name]
            if new in kept:
                raise ValueError(f"{name} and {new} are the same: give one of them")
            kept |= {new: given[name]} if new else {}
        return kept


Handler = Callable[[Call, Any], Awaitable[Answer]]


@dataclass(frozen=True)
class Tool:
    """One tool. `risk` is the lowest permission level at which it is of any use; below it, it is not listed.

    `useless` says why the settings leave no use for it: then it is not listed either.
    """

    name: str
    title: str
    description: str
    toolset: Toolset
    arguments: type[Arguments]
    answer: type[Answer]
    run: Handler
    risk: Level = "read"
    destructive: bool = False
    idempotent: bool = True
    useless: Callable[[Settings], str] = lambda _settings: ""

    @property
    def read_only(self) -> bool:
        """Whether it changes nothing, ever."""
        return self.risk == "read"

    def selected(self, toolsets: AbstractSet[str]) -> bool:
        """Whether these (MCP_TOOLSETS, or those of a token) name it or its set."""
        return not toolsets.isdisjoint({self.name, self.toolset, "all"})

    def permitted(self, level: Level) -> bool:
        """Whether a principal with this level can do anything of it."""
        return allows(level, self.risk)


# --- arguments that many tools have ----------------------------------------------------------------------------------


def _number(value: object) -> object:
    return int(value) if isinstance(value, str) and value.strip().isdigit() else value


Vmid = Annotated[
    int,
    BeforeValidator(_number),
    Field(ge=1, le=999_999_999),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^[0-9]+$"}],
            "description": "number of the guest",
        }
    ),
]


def _moment(text: str) -> str:
    """In UTC as everywhere here, so that times compare as text. `24h` is so long ago."""
    from mqtt_bridge.events.history_request import moment  # noqa: PLC0415 -- not needed to list tools

    return utc(moment(text, time.time())) or ""


Moment = Annotated[str, AfterValidator(_moment)]
SiteArgument = Annotated[str | None, Field(description="only needed where several sites have the same thing")]
NodeArgument = Annotated[str | None, Field(description="node name")]


class Paged(Arguments):
    """A list's page."""

    limit: int = Field(default=LIMIT, ge=1, le=MOST, description="rows at most")
    cursor: str | None = Field(default=None, description="`next_cursor` of the page before")


class Listed(Paged):
    """A list that is filtered by site and node."""

    site: str | None = Field(default=None, description="only this site")
    node: str | None = Field(default=None, description="only this node")


class Page(Answer):
    """A list's answer: how many there are in all, and where to go on."""

    total: int = Field(default=0, description="rows that match the filters, on all pages")
    next_cursor: str | None = Field(default=None, description="give it as `cursor` for the next page; null: the end")


def paged(rows: Sequence[T], name: Callable[[T], str], args: Paged) -> tuple[Sequence[T], str | None]:
    """The page that `args` asks for, and the cursor of the next. A cursor is the name of the last row shown."""
    start = 0
    if args.cursor is not None:
        names = [name(row) for row in rows]
        if args.cursor not in names:
            raise BridgeError("The cursor is not valid any more.", cure="Start again without one.")
        start = names.index(args.cursor) + 1
    shown = rows[start : start + args.limit]
    more = start + args.limit < len(rows)
    return shown, name(shown[-1]) if more and shown else None


def named_like(pattern: str | None, name: str) -> bool:
    """A glob without regard to case; None fits everything."""
    return pattern is None or fnmatchcase(name.casefold(), pattern.casefold())


def fresh(view: View, sites: Sequence[str], *notes: str) -> dict[str, Any]:
    """The fields of Answer."""
    seen = view.freshness(sites)
    return {
        "as_of": seen.as_of,
        "age_s": seen.age_s,
        "stale": seen.stale,
        "complete": seen.complete,
        "source": view.source,
        "notes": (*seen.notes, *notes),
    }


def merged(row: type[Row], state: Model, figures: Model | None) -> Row:
    """One row of a state and its figures; the figures win where they are known."""
    known = {name: value for name, value in vars(figures).items() if value is not None} if figures else {}
    return row.model_validate(dict.fromkeys(row.model_fields) | vars(state) | known)
