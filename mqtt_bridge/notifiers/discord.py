"""DISCORD_OUT: an embed through a channel's webhook; what an incident comes to later changes the same message.

An update is an edit, which nobody is notified of; one that is worse than all before it, a recovery and a reminder are
new messages.
"""

from time import monotonic
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from mqtt_bridge import __version__
from mqtt_bridge.notifiers.discord_embed import payload
from mqtt_bridge.notifiers.http import Http, OverHttp, Service, object_of, seconds
from mqtt_bridge.notifiers.notice import Notice, RefusedError, Sent
from mqtt_bridge.notifiers.reply import Reply
from mqtt_bridge.settings.notifying import DiscordOutSettings
from mqtt_bridge.severity import SEVERITIES

_UNKNOWN_MESSAGE = 10008
_NO_CONTENT = 204
LEFT_ALONE = 600.0  # seconds
_NEW_WEBHOOK = (
    "Make a webhook (channel settings, Integrations, Webhooks) and write its URL into DISCORD_OUT_WEBHOOK_URL."
)


def _explain(answer: dict[str, Any]) -> str:
    """`Invalid Form Body (embeds.0.title: Must be 256 or fewer in length.)`."""
    found: list[str] = []
    stack: list[tuple[str, Any]] = [("", answer.get("errors"))]
    while stack and not found:
        path, node = stack.pop()
        if isinstance(node, dict):
            stack += [(f"{path}.{key}" if path else str(key), below) for key, below in node.items()]
        elif isinstance(node, list):
            found = [
                f"{path.removesuffix('._errors')}: {each['message']}"
                for each in node
                if isinstance(each, dict) and "message" in each
            ][:1]
    return " ".join([str(answer.get("message", "")), *(f"({each})" for each in found)])


SERVICE = Service(
    "Discord",
    "DISCORD_OUT_WEBHOOK_URL",
    cures={401: _NEW_WEBHOOK, 403: _NEW_WEBHOOK, 404: _NEW_WEBHOOK},
    explain=_explain,
)


class DiscordNotifier(OverHttp):
    """A Notifier. `ref` of a message: its id and the worst severity that it told."""

    name = "DISCORD_OUT"

    def __init__(self, settings: DiscordOutSettings) -> None:
        self._url = settings.webhook_url.reveal().strip() if settings.webhook_url else ""
        token = self._url.partition("?")[0].rstrip("/").rpartition("/")[2]
        agent = f"DiscordBot (proxmox-mcp, {__version__})"  # the form that Discord asks for
        self._http = Http(SERVICE, secrets=(self._url, token), agent=agent)
        self._refusal: RefusedError | None = None
        self._left_alone_until = 0.0

    async def send(self, notice: Notice) -> Sent:
        """After a refusal of the webhook itself Discord is left alone for a while: it blocks who insists."""
        if self._refusal and monotonic() < self._left_alone_until:
            raise RefusedError(self._refusal.message, cure=self._refusal.cure)
        try:
            return await self._send(notice)
        except RefusedError as error:
            if error.cure == _NEW_WEBHOOK:
                self._refusal, self._left_alone_until = error, monotonic() + LEFT_ALONE
            raise

    async def _send(self, notice: Notice) -> Sent:
        message, _, worst = (notice.previous or "").partition("/")
        worse = worst not in SEVERITIES or SEVERITIES.index(notice.severity) > SEVERITIES.index(worst)
        if notice.kind == "update" and message.isdecimal() and not worse:
            reply = await self._http.ask("PATCH", self._address(f"/messages/{message}"), payload(notice))
            if object_of(reply).get("code") != _UNKNOWN_MESSAGE:  # somebody deleted it: tell it anew
                return self._sent(reply, worst, "changed")
        reply = await self._http.ask("POST", self._address("", wait="true"), payload(notice))
        return self._sent(reply, notice.severity, "posted")

    def _address(self, below: str, **query: str) -> str:
        """The webhook's own query, a `thread_id`, stays."""
        try:
            parts = urlsplit(self._url)
        except ValueError:
            return ""  # refused as no URL
        asked = urlencode(dict(parse_qsl(parts.query)) | query)
        return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + below, asked, ""))

    def _sent(self, reply: Reply, worst: str, done: str) -> Sent:
        answer = self._http.taken(reply, after=seconds(object_of(reply).get("retry_after")))
        if reply.headers.get("x-ratelimit-remaining") == "0":
            self._http.hold(seconds(reply.headers.get("x-ratelimit-reset-after")))
        message = str(answer.get("id", ""))
        if message.isdecimal():
            return Sent(f"{message}/{worst}", f"{reply.status}, message {message} {done}")
        if reply.whole and reply.status != _NO_CONTENT:
            raise self._http.foreign()
        return Sent(None, f"{reply.status}, {done}")
