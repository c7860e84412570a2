"""An action's row, and the arguments that it takes: closed models whose values can go into a property string."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import Level

if TYPE_CHECKING:
    from mqtt_bridge.actions.plan import Plan
    from mqtt_bridge.actions.reading import Reading

MAX_TEXT = 8192  # characters; Proxmox's own limit for a description
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_UNSAFE = re.compile(r"[,=;\x00-\x1f\x7f]")


class ActionError(BridgeError):
    """What was asked cannot be done: no such action or argument, the wrong kind of guest, a state that forbids it."""


def _text(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("it must not contain control characters")
    return value


def _plain(value: str) -> str:
    if _UNSAFE.search(value) or value.startswith("-"):
        raise ValueError("it must not begin with '-' or contain ',', '=', ';' or control characters")
    return value


Int = StrictInt
Bool = StrictBool
Text = Annotated[StrictStr, Field(max_length=MAX_TEXT), AfterValidator(_text)]
Word = Annotated[StrictStr, Field(min_length=1, max_length=256), AfterValidator(_plain)]
Vmids = Annotated[tuple[StrictInt, ...], Field(min_length=1), AfterValidator(lambda given: tuple(sorted(set(given))))]


class Args(BaseModel):
    """An action's arguments. A field's `serialization_alias` is the API's parameter where it is named otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    def params(self, *leave_out: str) -> dict[str, Any]:
        """What was given, as the API wants it: no nulls, numbers for yes and no."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name not in leave_out}
        names = {name: info.serialization_alias or name for name, info in type(self).model_fields.items()}
        return {
            names[name]: int(value) if isinstance(value, bool) else value
            for name, value in given.items()
            if value is not None
        }


class NoArgs(Args):
    """For what takes none."""


@dataclass(frozen=True)
class Privilege:
    """What the token needs, as Proxmox names it; `path` may have fields."""

    name: str
    path: str


PlanIt = Callable[["Reading", Any, Any], Awaitable["Plan"]]


@dataclass(frozen=True)
class Action:
    """One row: what it is called, how dangerous it is, what it takes, and how a plan of it is made.

    `risk` is the lowest that it can have: a plan may say more (a restore over an existing guest destroys it).
    `takes_down`: what it touches stops working, for a moment or for good. `kind` is the Proxmox product.
    """

    name: str
    title: str
    risk: Level
    target: Literal["guest", "node", "storage", "datastore", "site"]
    privileges: tuple[Privilege, ...]
    args: type[Args]
    plan: PlanIt
    takes_down: bool = False
    kind: Literal["pve", "pbs"] = "pve"

    def arguments(self, given: Mapping[str, Any]) -> Args:
        """A caller's arguments, checked; raises ActionError with the first thing that is wrong."""
        known = {name: value for name, value in given.items() if value is not None}
        try:
            return self.args.model_validate(known)
        except ValidationError as error:
            raise _wrong(self, error) from None


_SAID = {
    "int_type": "it must be a whole number",
    "bool_type": "it must be true or false",
    "string_type": "it must be a text",
    "tuple_type": "it must be a list",
    "too_short": "it must have at least one",
}


def _wrong(row: Action, error: ValidationError) -> ActionError:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    name = ".".join(str(part) for part in first["loc"][:2]) or "arguments"
    takes = f"It takes: {', '.join(row.args.model_fields) or 'none'}."
    if first["type"] == "extra_forbidden":
        return ActionError(f"{row.title} has no argument {name}.", cure=takes)
    if first["type"] == "missing":
        return ActionError(f"{row.title} needs the argument {name}.", cure=takes)
    return ActionError(f"The argument {name} of {row.title.lower()} is not right: {worded(first)}.")


def worded(problem: Mapping[str, Any]) -> str:
    """One of pydantic's errors in our words, without a full stop."""
    message = _SAID.get(problem["type"]) or str(problem["msg"]).removeprefix("Value error, ")
    return f"{message[0].lower()}{message[1:]}"


def revealed(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as they are sent: the one place where an action's secrets are opened."""
    return {key: _open(value) for key, value in params.items()}


def _open(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_open(each) for each in value]
    return value.reveal() if isinstance(value, Secret) else value
