"""Who shows the right token, and how long one waits who does not."""

import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import parse_qsl

from aiohttp import web

from mqtt_bridge.secret import Secret
from mqtt_bridge.seldom import Seldom

log = logging.getLogger(__name__)

FIRST, LONGEST = 0.25, 8.0  # seconds before a 401 is sent
FORGIVEN = 600.0  # seconds after which a wrong token is forgotten
_MOST_SOURCES = 1000


def shown(request: web.BaseRequest) -> list[str]:
    """Every token that a request shows: as a bearer, as Gotify's header, in the query."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    found = [bearer.strip() if scheme.casefold() == "bearer" else "", request.headers.get("X-Gotify-Key", "")]
    query = request.raw_path.partition("?")[2]
    with suppress(ValueError):  # too many fields
        found += [value for name, value in parse_qsl(query, max_num_fields=20) if name == "token"]
    return [token for token in found if token]


class WrongTokens:
    """Says in the log who comes with a wrong token, once a minute; of the request only its path is told."""

    def __init__(self, listener: str, setting: str) -> None:
        self._listener = listener
        self._setting = setting
        self._seldom = Seldom()

    def note(self, request: web.BaseRequest) -> None:
        """One more."""
        source, path = request.remote or "?", request.raw_path.partition("?")[0][:60]
        if times := self._seldom.count((source, path)):
            log.warning(
                "%s: %s from %s to %s without the token of %s",
                self._listener,
                "a request" if times == 1 else f"{times} requests",
                source,
                path,
                self._setting,
            )


class TokenGate:
    """Compares in constant time. A source that is wrong again waits longer; the right token never waits."""

    def __init__(self, token: Secret | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._token = token
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def admits(self, request: web.BaseRequest) -> bool:
        """Whether no token is needed, or a right one is shown."""
        if not self._token:
            return True
        right = self._token.reveal().encode()
        return any([hmac.compare_digest(token.encode(errors="replace"), right) for token in shown(request)])  # noqa: C419 -- all are compared

    def pause(self, source: str) -> float:
        """Seconds that this source, wrong once more, waits for its answer."""
        now = self._clock()
        times, last = self._wrong.pop(source, (0, now))
        times = 1 if now - last > FORGIVEN else times + 1
        self._wrong[source] = (times, now)
        if len(self._wrong) > _MOST_SOURCES:
            self._wrong.popitem(last=False)
        return min(FIRST * 2.0 ** min(times - 1, 10), LONGEST)
