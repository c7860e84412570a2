"""What the notifiers over HTTP share: an answer becomes once what it means, with cause and cure, and no secret."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from mqtt_bridge import __version__
from mqtt_bridge.notifiers.notice import LaterError, RefusedError
from mqtt_bridge.notifiers.reply import NoReply, Reply
from mqtt_bridge.redact import redact_text
from mqtt_bridge.secret import STARS
from mqtt_bridge.wording.clean import one_line

if TYPE_CHECKING:
    from mqtt_bridge.notifiers.wire import Wire

LONGEST = 86_400.0  # no service is waited for longer
_LATER = frozenset({302, 303, 307, 408, 425, 429})  # a passing redirect is a proxy's page or login
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TOO_MANY = 429
_SHORTEST_SECRET = 4


@dataclass(frozen=True, slots=True)
class Service:
    """How to speak of a service: its name, the settings that lead to it, what cures a status, what its answer says."""

    name: str
    url_key: str
    verify_key: str = ""
    cures: Mapping[int, str] = field(default_factory=dict)
    explain: Callable[[dict[str, Any]], str] = lambda _: ""


def object_of(reply: Reply) -> dict[str, Any]:
    """The JSON object of an answer; empty if it is none."""
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def seconds(value: Any, now: datetime | None = None) -> float | None:
    """`Retry-After` and its like: seconds or an HTTP date; None where it is neither."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        try:
            found = (parsedate_to_datetime(str(value)) - (now or datetime.now(UTC))).total_seconds()
        except (TypeError, ValueError, OverflowError):  # TypeError: a date without its zone
            return None
    return min(max(found, 0.0), LONGEST) if math.isfinite(found) else None


class Http:
    """`async with` it. After an answer that says when to come again, it is not asked before."""

    def __init__(
        self,
        service: Service,
        *,
        secrets: tuple[str, ...] = (),
        verify: bool = True,
        ca_file: Path | None = None,
        agent: str = f"proxmox-mcp/{__version__}",
    ) -> None:
        self._service = service
        self._secrets = tuple(
            sorted((each for each in secrets if len(each) >= _SHORTEST_SECRET), key=len, reverse=True)
        )
        self._verify = verify
        self._ca_file = ca_file
        self._agent = agent
        self._free_at = 0.0
        self._wire: Wire

    async def __aenter__(self) -> Self:
        from mqtt_bridge.notifiers.wire import Wire  # noqa: PLC0415 -- brings aiohttp

        wire = Wire(verify=self._verify, ca_file=self._ca_file)
        try:
            self._wire = await wire.__aenter__()
        except OSError as error:
            why = f"The CA file {self._ca_file} of {self._service.name} cannot be used: {error.strerror or error}."
            raise RefusedError(why, cure="Give a readable PEM file.") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._wire.__aexit__()

    async def ask(self, method: str, url: str, payload: Any, headers: Mapping[str, str] | None = None) -> Reply:
        """Whatever the service answers; LaterError or RefusedError where nothing answers. `payload`: JSON, or bytes."""
        if (wait := self._free_at - monotonic()) > 0:
            raise LaterError(f"{self._service.name} asked to wait.", after=wait)
        body = (
            payload
            if isinstance(payload, bytes)
            else json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace")
        )
        sent = {"Content-Type": "application/json", "User-Agent": self._agent, **(headers or {})}
        reply = await self._wire.ask(method, url, body, sent)
        if isinstance(reply, NoReply):
            raise self._unanswered(reply)
        return reply

    def _unanswered(self, failed: NoReply) -> LaterError | RefusedError:
        what = f"{self._service.name} {failed.why}."
        if failed.certificate:
            verify = self._service.verify_key
            return LaterError(f"{what} Use a trusted certificate{f'; {verify}=false checks none' if verify else ''}.")
        if failed.final:
            return RefusedError(what, cure=f"Check {self._service.url_key}.")
        return LaterError(f"{what} Check {self._service.url_key} if that stays.")

    def hold(self, after: float | None) -> None:
        """Ask nothing for so long."""
        self._free_at = max(self._free_at, monotonic() + (after or 0.0))

    def taken(self, reply: Reply, *, after: float | None = None) -> dict[str, Any]:
        """The answer's JSON, if it is a success. `after`: what the body says of when to come again."""
        if 200 <= reply.status < 300:  # noqa: PLR2004 -- successes
            return object_of(reply)
        service, status = self._service, reply.status
        said = one_line(self._hidden(service.explain(object_of(reply))[:4000]), 200)
        what = f"{service.name} answers {status}{f': {said}' if said else ''}"
        if status in _REDIRECTS:
            what = f"{service.name} redirects elsewhere ({status}), and nothing secret is sent along"
        cure = f"Write the address that it leads to into {service.url_key}." if status in _REDIRECTS else ""
        cure = cure or service.cures.get(status, "")
        if status in _LATER or status >= 500:  # noqa: PLR2004 -- the server's own fault
            after = after if after is not None else seconds(reply.headers.get("retry-after"))
            self.hold(after if status == _TOO_MANY else None)
            raise LaterError(f"{what}. {cure}".strip(), after=after)
        raise RefusedError(f"{what}.", cure=cure or f"Check {service.url_key}.")

    def foreign(self) -> RefusedError:
        """A success, but not as this service tells one: something else lives there."""
        name, key = self._service.name, self._service.url_key
        return RefusedError(f"What answers at {key} is not {name}.", cure=f"Check {key}.")

    def _hidden(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, STARS)
        return redact_text(text)


class OverHttp:
    """The part of a Notifier that opens and closes its `Http`."""

    _http: Http

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.__aexit__()
