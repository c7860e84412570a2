"""APPRISE: any service that Apprise knows, through APPRISE_URLS; what came of it is told for each URL.

Apprise is synchronous: its calls run in threads of their own, which nothing waits for at exit. Its URLs are secrets as
a whole, so that a URL is only ever called by its place and scheme.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Self
from urllib.parse import unquote

from mqtt_bridge.notifiers.notice import Notice, RefusedError, Sent
from mqtt_bridge.notifiers.render import body, look, tidy
from mqtt_bridge.notifiers.several import Outcome, Several
from mqtt_bridge.proxmox.threads import DaemonPool
from mqtt_bridge.redact import redact_text
from mqtt_bridge.secret import STARS
from mqtt_bridge.settings.notifying import AppriseSettings
from mqtt_bridge.wording.clean import one_line

WHOLE = 40.0  # seconds for one URL
_THREADS = 8
_LOG = 1500  # characters of a log: most of these services are chats
_NEXT = re.compile(r"[\s,]+(?=[A-Za-z][A-Za-z0-9+.-]{1,30}://)")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{1,30})://")
_PART = re.compile(r"[/:@?&=,;#\s]+")
_SHORTEST = 4  # characters of a part of a URL that is hidden
_CODE = re.compile(r"\berror[=: ]{1,2}(\d{3})\b")
_TYPES = {"info": "info", "warning": "warning", "error": "failure", "critical": "failure"}
_LATER = frozenset({408, 409, 423, 425, 429})  # of the 4xx; everything else there is for good

# Its log shows parts of URLs, some of them secret, and the whole text at DEBUG; what matters of it is told by us.
logging.getLogger("apprise").propagate = False
logging.getLogger("apprise").addHandler(logging.NullHandler())


class AppriseNotifier:
    """Tells all URLs at once; a slow one holds up none of the others, only the end of `send`."""

    name = "APPRISE"

    def __init__(self, settings: AppriseSettings, *, whole: float = WHOLE) -> None:
        self._urls = _split(settings.urls.reveal() if settings.urls else "")
        self._whole = whole
        self._several = Several()
        self._pool: DaemonPool | None = None

    async def __aenter__(self) -> Self:
        self._pool = DaemonPool(_THREADS, "apprise")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pool:
            self._pool.close()

    async def send(self, notice: Notice) -> Sent:
        """Each URL is told once: at a retry only those that have to wait. `answer` names those that refused."""
        if not self._urls:
            raise RefusedError("APPRISE_URLS is empty.", cure="Set it, or switch APPRISE off.")
        missing = self._several.remaining(notice.id, self._urls)
        outcomes = await asyncio.gather(*(self._told(self._urls[each], notice) for each in missing))
        return self._several.settle(notice.id, dict(zip(missing, outcomes, strict=True)))

    async def _told(self, url: str, notice: Notice) -> Outcome:
        if self._pool is None:
            raise RuntimeError("AppriseNotifier is used outside of its `async with`")
        call: Callable[[], Outcome] = lambda: _tell(url, notice)  # noqa: E731 -- typed for the pool
        try:
            async with asyncio.timeout(self._whole):
                return await asyncio.wrap_future(self._pool.submit(call))
        except TimeoutError:
            return Outcome("later", f"no answer within {self._whole:g} seconds")


def understood(settings: AppriseSettings) -> dict[str, str]:
    """Of each URL which service Apprise takes it for, "" for none. Slow: for a thread. Raises ImportError."""
    import apprise  # noqa: PLC0415

    urls = _split(settings.urls.reveal() if settings.urls else "")
    found = {name: apprise.Apprise.instantiate(url) for name, url in urls.items()}
    return {name: str(service.service_name) if service else "" for name, service in found.items()}


def _split(urls: str) -> dict[str, str]:
    """By what they are called: `1 (discord)`."""
    found = [url for url in _NEXT.split(urls.strip().strip(",")) if url]
    return {f"URL {place} ({_scheme(url)})": url for place, url in enumerate(found, 1)}


def _scheme(url: str) -> str:
    scheme = _SCHEME.match(url)
    return scheme[1].lower() if scheme else "no scheme"


def _tell(url: str, notice: Notice) -> Outcome:
    """In a thread."""
    try:
        import apprise  # noqa: PLC0415 -- an extra, and slow to import
    except ImportError:
        return Outcome("refused", 'Apprise is not installed: pip install "proxmox-mcp[apprise]".')
    asset = apprise.AppriseAsset(async_mode=False, service_timeout=0, http_redirects=False, app_id="proxmox-mcp")
    service = apprise.Apprise.instantiate(url, asset=asset)
    if service is None:
        return Outcome("refused", "Apprise does not understand this URL of APPRISE_URLS")
    if "overflow=" not in url:
        service.overflow_mode = apprise.OverflowMode.TRUNCATE
    several = apprise.Apprise(asset=asset)
    several.add(service)
    shown = look(notice)
    result = several.notify(
        body(replace(notice, log=notice.log[-_LOG:])),
        title=f"{shown.word}: {tidy(notice).title}",
        notify_type="success" if notice.kind == "recovery" else _TYPES[notice.severity],
        body_format=apprise.NotifyFormat.TEXT,
    )
    if result:
        return Outcome("sent", f"taken by {service.service_name}")
    return _failed([entry.message for entry in result.logs()], url)


def _failed(messages: list[str], url: str) -> Outcome:
    code = next((int(found[1]) for message in messages if (found := _CODE.search(message))), 0)
    said = _scrubbed("; ".join(messages), url) or "Apprise did not say why"
    if HTTPStatus.BAD_REQUEST <= code < HTTPStatus.INTERNAL_SERVER_ERROR and code not in _LATER:
        return Outcome("refused", f"{said}: check its URL in APPRISE_URLS")
    return Outcome("later", said)


def _scrubbed(text: str, url: str) -> str:
    """Without any part of the URL: in some services the path is the key, in some the host."""
    parts = {part for form in (url, unquote(url)) for part in _PART.split(form) if len(part) >= _SHORTEST}
    for part in sorted(parts - {_scheme(url)}, key=len, reverse=True):
        text = text.replace(part, STARS)
    return one_line(redact_text(text), 300).rstrip(".")
