"""What people and programs may ask of the journal, checked: the same for MQTT and the command line."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.journal.rows import CURSOR
from mqtt_bridge.model import Query, Severity

LARGEST_REQUEST = 4096  # bytes
LARGEST_PAGE = 500  # events
_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_STARS = 5  # in a glob: each multiplies the work
_WORD = r"^[^\x00-\x1f\x7f]+$"

Word = Annotated[str, Field(min_length=1, max_length=64, pattern=_WORD)]


class HistoryRequestError(BridgeError):
    """Such a question cannot be answered; the message names the field."""

    def __init__(self, message: str, identity: str | None = None) -> None:
        super().__init__(message)
        self.identity = identity


class Asked(BaseModel):
    """A request as it comes in."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    since: Annotated[str, Field(max_length=40)] | None = None
    until: Annotated[str, Field(max_length=40)] | None = None
    severity: Severity | None = None
    kind: Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9_.*?-]+$")] | None = None
    site: Word | None = None
    node: Word | None = None
    guest: Annotated[int, Field(ge=0, le=2**31, strict=False)] | None = None
    limit: Annotated[int, Field(ge=1, le=LARGEST_PAGE)] = 50
    cursor: Annotated[str, Field(max_length=64, pattern=f"^{CURSOR.pattern}$")] | None = None
    id: Annotated[str, Field(max_length=128, pattern=_WORD)] | None = None

    def query(self, now: float) -> Query:
        """Raises HistoryRequestError for times and globs that are none."""
        if self.kind and self.kind.count("*") > _STARS:
            raise HistoryRequestError(f"kind: at most {_STARS} stars.", self.id)
        times = {name: self._moment(name, now) for name in ("since", "until")}
        return Query(**times, **self.model_dump(exclude={"since", "until", "id"}))

    def _moment(self, name: str, now: float) -> float | None:
        text = getattr(self, name)
        try:
            return None if text is None else moment(text, now)
        except ValueError as error:
            raise HistoryRequestError(f"{name}: {error}.", self.id) from error


def moment(text: str, now: float) -> float:
    """ISO 8601, or so long before `now`, as Unix seconds; raises ValueError."""
    if ago := _AGO.fullmatch(text.strip()):
        return now - float(ago[1]) * _SECONDS[ago[2]]
    try:
        at = datetime.fromisoformat(text.strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError("give a time like 2026-11-20T03:00:00Z, or so long ago: 90m, 24h, 7d") from None


def read_request(payload: bytes) -> Asked:
    """Raises HistoryRequestError, which has the request's id where it could be read. No payload asks for the newest."""
    if len(payload) > LARGEST_REQUEST:
        raise HistoryRequestError(f"The request is larger than {LARGEST_REQUEST} bytes.")
    try:
        raw = from_json(payload or b"{}")
    except ValueError:
        raw = None
    if not isinstance(raw, dict):
        raise HistoryRequestError("The request is not a JSON object.")
    try:
        return Asked.model_validate(raw)
    except ValidationError as error:
        raise HistoryRequestError(_first(error), _identity(raw.get("id"))) from None


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ascii(".".join(str(part) for part in problem["loc"])[:64])[1:-1]
    if problem["type"] == "extra_forbidden":
        return f"{field}: no such field; there are {', '.join(Asked.model_fields)}."
    return f"{field}: {problem['msg']}."


def _identity(value: object) -> str | None:
    """Whoever sent a request that is wrong elsewhere waits for an answer that has its id."""
    try:
        return Asked.model_validate({"id": value}).id
    except ValidationError:
        return None
