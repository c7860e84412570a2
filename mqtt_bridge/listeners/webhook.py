"""Notification webhooks of Proxmox, and what its Gotify target sends: this listener answers like a Gotify server.

An answer of success follows the commit. The steps and the template for Proxmox are in docs/listeners-webhook.md.
"""

import asyncio
import json
import logging
import re
import ssl
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from aiohttp import web

from mqtt_bridge.events.intake import Intake, IntakeFullError, JournalError, Report
from mqtt_bridge.listeners.gotify_answers import VERSION, created, failure, message_of
from mqtt_bridge.listeners.http_body import BodyError, body_of
from mqtt_bridge.listeners.http_server import HttpServer, Limits
from mqtt_bridge.listeners.http_tls import keep_fresh, server_context
from mqtt_bridge.listeners.http_token import TokenGate, WrongTokens
from mqtt_bridge.listeners.reposts import Reposts
from mqtt_bridge.settings.listening import WebhookInSettings
from mqtt_bridge.settings.local import is_loopback
from mqtt_bridge.wording import Channel, Verdict, classify

log = logging.getLogger(__name__)

AGAIN = 10.0  # seconds between two attempts to listen
LARGE = 8 * 1024  # bytes of a body that is read in a thread: a log of a megabyte takes most of a second
READERS = 2  # such threads at once
REPOSTS = "reposts"  # the cursor's name
RETRY_AFTER = "5"  # seconds, told to a sender whose notification could not be taken
_PATH = re.compile(r"/+(?:([a-z0-9_-]{1,64})/+)?(webhook|proxmox|message|version|health)/*|/*")
_METHODS = {
    "webhook": ("POST", "PUT"),
    "proxmox": ("POST", "PUT"),
    "message": ("POST",),
    "version": ("GET", "HEAD"),
    "health": ("GET", "HEAD"),
}
_BUSY, _AGAIN = 503, {"Retry-After": RETRY_AFTER}
_OPEN: dict[str, dict[str, str]] = {"version": VERSION, "health": {"health": "green", "database": "green"}}


class _RefusedError(Exception):
    """The HTTP status, the reason for the counter, a sentence for the sender."""

    def __init__(self, status: int, reason: str, sentence: str, **headers: str) -> None:
        super().__init__(reason)
        self.status, self.reason, self.sentence, self.headers = status, reason, sentence, headers


def problem(settings: WebhookInSettings) -> str:
    """Why it will not listen; empty when nothing is wrong."""
    if not settings.token and not is_loopback(settings.host):
        return (
            f"it would listen on {settings.host} for everybody: set EVENT_WEBHOOK_TOKEN, "
            "or EVENT_WEBHOOK_LISTEN_HOST=127.0.0.1"
        )
    if bool(settings.cert_file) != bool(settings.key_file):
        return "HTTPS needs both EVENT_WEBHOOK_CERT_FILE and EVENT_WEBHOOK_KEY_FILE: set both or none"
    return ""


class WebhookListener:
    """`sites` are the names that a path may begin with (`/<site>/webhook`) to say where notifications are from."""

    name = "WEBHOOK"

    def __init__(
        self,
        settings: WebhookInSettings,
        *,
        sites: Collection[str] = (),
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._sites = frozenset(sites)
        self._limits = limits or Limits()
        self._clock = clock
        self.port = 0  # that is listened on, once it is

    async def run(self, intake: Intake) -> None:
        """Listen until cancelled; a port that is taken is tried again."""
        if wrong := problem(self._settings):
            log.error("WEBHOOK does not start: %s", wrong)
            intake.unhealthy(f"not started: {wrong}")
            await asyncio.Event().wait()
        while True:
            try:
                await self._serve(intake)
            except OSError as error:  # ssl.SSLError is one
                intake.unhealthy(self._cause(error))
            await asyncio.sleep(AGAIN)

    async def _serve(self, intake: Intake) -> None:
        receiver = _Receiver(self._settings, self._sites, self._limits, self._clock, intake)
        await receiver.remember()
        tls = await asyncio.to_thread(tls_context, self._settings)
        settings = self._settings
        async with HttpServer(
            receiver.answer, settings.host, settings.port, reject=intake.reject, limits=self._limits, tls=tls
        ) as server:
            receiver.server = server
            self.port = server.port
            scheme = "https" if tls else "http"
            intake.healthy(f"listening on {scheme}://{_bracketed(settings.host)}:{server.port}")
            async with asyncio.TaskGroup() as group:
                if tls and settings.cert_file and settings.key_file:
                    group.create_task(keep_fresh(tls, settings.cert_file, settings.key_file))
                group.create_task(server.serve())

    def _cause(self, error: OSError) -> str:
        where = f"{_bracketed(self._settings.host)}:{self._settings.port}"
        if isinstance(error, ssl.SSLError | FileNotFoundError) or error.filename:
            return (
                f"the certificate or its key cannot be used ({error.strerror or type(error).__name__}): look at "
                "EVENT_WEBHOOK_CERT_FILE and EVENT_WEBHOOK_KEY_FILE"
            )
        return (
            f"cannot listen on {where} ({error.strerror or error}): stop what uses it, "
            "or change EVENT_WEBHOOK_LISTEN_HOST and EVENT_WEBHOOK_LISTEN_PORT"
        )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def tls_context(settings: WebhookInSettings) -> ssl.SSLContext | None:
    """None: plain HTTP. Raises OSError where the files cannot be used."""
    if not settings.cert_file or not settings.key_file:
        return None
    return server_context(settings.cert_file, settings.key_file)


class _Receiver:
    """From a request to its answer."""

    def __init__(
        self,
        settings: WebhookInSettings,
        sites: frozenset[str],
        limits: Limits,
        clock: Callable[[], float],
        intake: Intake,
    ) -> None:
        self.server: HttpServer | None = None
        self._settings = settings
        self._sites = sites
        self._limits = limits
        self._clock = clock
        self._intake = intake
        self._gate = TokenGate(settings.token)
        self._wrong = WrongTokens("WEBHOOK", "EVENT_WEBHOOK_TOKEN")
        self._reposts = Reposts(clock)
        self._readers = asyncio.Semaphore(READERS)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Success only once it is committed; failures are told in Gotify's form, whoever asks."""
        try:
            return _json(200, await self._taken(request))
        except (_RefusedError, BodyError) as refused:
            self._intake.reject(refused.reason)
            headers = (
                refused.headers if isinstance(refused, _RefusedError) else _AGAIN if refused.status == _BUSY else {}
            )
            return _json(refused.status, failure(refused.status, refused.sentence), **headers)
        except (IntakeFullError, JournalError) as error:
            return _json(503, failure(503, error.message), **_AGAIN)

    async def _taken(self, request: web.BaseRequest) -> dict[str, Any]:
        site, what = _where(request)
        if what in _OPEN:
            return dict(_OPEN[what])
        await self._authorize(request)
        if site and site not in self._sites:
            raise _RefusedError(404, "unknown site", f"no site is called {site}: see PROXMOX_SITE and PVE_CLUSTERS")
        async with body_of(request, self._settings.max_size, self._limits.body) as body:
            if not body.strip():
                raise _RefusedError(400, "empty body", "the body is empty: the template is missing in the target")
            if what == "message":
                return await self._gotify(request, body, site)
            report = await self._report(request, "webhook", body, site)
        await self._commit(report)
        return {"accepted": True, "kind": report.verdict.kind, "severity": report.verdict.severity}

    async def _gotify(self, request: web.BaseRequest, body: bytes, site: str | None) -> dict[str, Any]:
        message = message_of(body, request.content_type)
        if message is None:
            raise _RefusedError(400, "no message", "a JSON object with a field `message` is needed")
        text = json.dumps(message, ensure_ascii=False).encode(errors="replace")
        report = await self._report(request, "gotify", text, site)
        await self._commit(report)
        return created(message, report.identity, self._clock())

    async def remember(self) -> None:
        """What came just before the last end; without it a notification sent again may be a second event."""
        with suppress(JournalError):
            self._reposts.read(await self._intake.cursor(REPOSTS))

    async def _commit(self, report: Report) -> None:
        timeless = "@" in report.identity
        await self._intake([report], cursors={REPOSTS: self._reposts.text()} if timeless else None)

    async def _authorize(self, request: web.BaseRequest) -> None:
        if not self._gate.admits(request):
            self._wrong.note(request)
            if self.server:
                self.server.idle(request)
            await asyncio.sleep(self._gate.pause(request.remote or ""))
            raise _RefusedError(
                401, "wrong token", "you need to provide a valid access token", **{"WWW-Authenticate": "Bearer"}
            )
        if not self._settings.token and "Origin" in request.headers:
            raise _RefusedError(403, "from a browser", "no web page may post here while no token is set")

    async def _report(self, request: web.BaseRequest, channel: Channel, body: bytes, site: str | None) -> Report:
        verdict = await self._read(channel, body)
        key = request.headers.get("Idempotency-Key", "")[:200]
        return Report(
            identity=self._reposts.identity(channel, body, verdict.at, key),
            verdict=verdict,
            trust="authenticated" if self._settings.token else "unauthenticated",
            site=site,
            metadata={"format": channel, "sender": request.remote or ""},
        )

    async def _read(self, channel: Channel, body: bytes) -> Verdict:
        now = self._clock()
        if len(body) < LARGE:
            return classify(channel, body, now=now)
        async with self._readers:
            return await asyncio.to_thread(classify, channel, body, now=now)


def _where(request: web.BaseRequest) -> tuple[str | None, str]:
    """Site and resource of a request; raises _RefusedError."""
    found = _PATH.fullmatch(request.raw_path.partition("?")[0])
    if not found:
        raise _RefusedError(404, "unknown path", "there is /webhook, and /message for Gotify targets")
    site, what = found[1], found[2] or "webhook"
    allowed = _METHODS[what]
    if request.method not in allowed:
        sentence = f"{request.method[:20]} is not possible here, {' or '.join(allowed)} is"
        raise _RefusedError(405, "wrong method", sentence, Allow=", ".join(allowed))
    return site, what


def _json(status: int, content: dict[str, Any], **headers: str) -> web.Response:
    text = json.dumps(content, ensure_ascii=True)
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)
