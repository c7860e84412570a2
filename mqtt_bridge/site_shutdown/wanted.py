"""What is asked for with `shutdown`, checked."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StrictBool, StrictInt, StrictStr, ValidationError

from mqtt_bridge.actions.row import worded
from mqtt_bridge.errors import BridgeError
from mqtt_bridge.model import Model

MOST = 20  # stages
_TAG = re.compile(r"[a-z0-9_][a-z0-9_+.-]{0,63}")
TAKES = "It takes: stages (a list of tags), stage_timeout (whole seconds, 10 to 7200), nodes and force (true or false)."
RESERVED = frozenset({"others", "nodes"})  # stages that are there by themselves


class ShutdownError(BridgeError):
    """It cannot be begun or aborted; nothing was sent."""


def _tag(text: str) -> str:
    tag = text.strip().lower()
    if not _TAG.fullmatch(tag):
        raise ValueError("it must be a tag as Proxmox has them")
    if tag in RESERVED:
        raise ValueError(f"{tag} is a stage that is there by itself")
    return tag


class Wanted(Model):
    """`stages` are tags, in their order; `stage_timeout` is in seconds, for each stage; nodes may have longer."""

    stages: Annotated[tuple[Annotated[StrictStr, AfterValidator(_tag)], ...], Field(max_length=MOST)] = ()
    stage_timeout: Annotated[StrictInt, Field(ge=10, le=7200)] = 300
    nodes: StrictBool = True
    force: StrictBool = False


def wanted(args: Mapping[str, Any]) -> Wanted:
    """Raises ShutdownError with the first thing that is wrong."""
    if unknown := [name for name in args if name not in Wanted.model_fields]:
        raise ShutdownError(f"args.{ascii(unknown[0][:64])[1:-1]}: no such argument.", cure=TAKES)
    try:
        found = Wanted.model_validate(dict(args))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ShutdownError(f"args.{name}: {worded(first)}.", cure=TAKES) from None
    if len(set(found.stages)) < len(found.stages):
        raise ShutdownError("args.stages: a tag is there twice.", cure="Each stage has a tag of its own.")
    return found
