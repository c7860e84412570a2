"""GOTIFY_OUT: a message of an application. Gotify has no edits: each notice is a message."""

from typing import Any

from mqtt_bridge.notifiers import markdown, parts
from mqtt_bridge.notifiers.fitting import begin, end
from mqtt_bridge.notifiers.http import Http, OverHttp, Service
from mqtt_bridge.notifiers.notice import Notice, Sent
from mqtt_bridge.settings.notifying import GotifyOutSettings

PRIORITIES = {"info": 2, "warning": 5, "error": 8, "critical": 10}  # its app: from 4 with sound, from 8 on the screen
HEARD = 5  # a recovery is `info`, but who was told of the failure shall notice it
_TEXT, _LOG = 4000, 4000  # Gotify has no limit; a proxy may
_BREAK = "  \n"  # a single newline is a blank in its Markdown
_HOW = (
    "Create an application in Gotify (APPS, CREATE APPLICATION) and write its token into GOTIFY_OUT_APP_TOKEN; a "
    "client's token cannot send."
)

SERVICE = Service(
    "Gotify",
    "GOTIFY_OUT_SERVER_URL",
    verify_key="GOTIFY_OUT_VERIFY_TLS",
    cures={401: _HOW, 403: _HOW},
    explain=lambda answer: str(answer.get("errorDescription", "")),
)


class GotifyNotifier(OverHttp):
    """A Notifier. `ref` is the message's id."""

    name = "GOTIFY_OUT"

    def __init__(self, settings: GotifyOutSettings) -> None:
        self._url = f"{settings.server_url.strip().rstrip('/')}/message"
        self._token = settings.app_token.reveal() if settings.app_token else ""
        self._http = Http(SERVICE, secrets=(self._token,), verify=settings.verify)

    async def send(self, notice: Notice) -> Sent:
        reply = await self._http.ask("POST", self._url, payload(notice), {"X-Gotify-Key": self._token})
        number = self._http.taken(reply).get("id")
        if isinstance(number, int):
            return Sent(str(number), f"{reply.status}, message {number}")
        if reply.whole:
            raise self._http.foreign()
        return Sent(None, str(reply.status))


def payload(notice: Notice) -> dict[str, Any]:
    """Markdown, in which nothing from outside is markup."""
    extras: dict[str, Any] = {"client::display": {"contentType": "text/markdown"}}
    if url := parts.link(notice):
        extras["client::notification"] = {"click": {"url": url}}
    priority = PRIORITIES[notice.severity]
    return {
        "title": parts.title(notice),
        "message": _message(notice),
        "priority": max(priority, HEARD) if notice.kind == "recovery" else priority,
        "extras": extras,
    }


def _message(notice: Notice) -> str:
    told = begin(markdown.escape(parts.told(notice), _BREAK), _TEXT)
    facts = _BREAK.join(
        f"**{''.join(markdown.escape(label))}:** {''.join(markdown.escape(value))}"
        for label, value in parts.facts(notice)
    )
    log = markdown.unfenceable(parts.log(notice))
    foot = "".join(markdown.escape(parts.footline(notice)))
    found = (told, facts, markdown.fenced(end(log, _LOG)) if log else "", foot)
    return "\n\n".join(filter(None, found)) or "".join(markdown.escape(parts.title(notice)))
