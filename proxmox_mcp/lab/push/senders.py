"""How each kind of target is reached: one function per row of `SENDERS`. All raise `PushError`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import handlebars, loopback, mail
from .config import decode, pair
from .model import PushError, fqdn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .config import Entry
    from .model import Notification
    from .outbox import Outbox

PRIORITY = {"info": 1, "notice": 3, "warning": 5, "error": 9, "unknown": 3}


@dataclass(frozen=True, slots=True)
class Sending:
    """One notification on its way to one target."""

    target: Entry
    note: Notification
    outbox: Outbox
    author: str
    """Who mails are from, unless the target says it."""
    address_of: Callable[[str], str]
    """Mail address of a user; empty when there is none."""


async def webhook(one: Sending) -> None:
    """Fill the admin's templates; his secrets are masked in what may go wrong."""
    try:
        await _webhook(one)
    except (handlebars.TemplateError, ValueError) as error:
        raise PushError(_masked(one.target, f"failed to render webhook: {error}")) from None
    except PushError as error:
        raise PushError(_masked(one.target, str(error))) from None


async def _webhook(one: Sending) -> None:
    note, values = one.note, one.target.values
    data = {
        "title": note.title,
        "message": note.text,
        "severity": note.severity,
        "timestamp": note.timestamp,
        "fields": note.fields,
        "secrets": one.target.secrets,
    }
    body = handlebars.render(decode(values.get("body")), data)
    url = handlebars.render(values["url"], data)
    headers = {name: handlebars.render(decode(value), data) for name, value in map(pair, values.get("header", ()))}
    await one.outbox.request(values["method"].upper(), url, headers, body.encode())


def _masked(target: Entry, text: str) -> str:
    for secret in filter(None, target.secrets.values()):
        text = text.replace(secret, "<masked>")
    return text


async def gotify(one: Sending) -> None:
    note, token = one.note, str(one.target.private["token"])
    message = {
        "title": note.title,
        "message": f"```\n{note.text}\n```",
        "priority": PRIORITY[note.severity],
        "extras": {"client::display": {"contentType": "text/markdown"}},
    }
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}", "X-Gotify-Key": token}
    body = json.dumps(message, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
    await one.outbox.request("POST", f"{one.target.values['server']}/message", headers, body)


def _recipients(one: Sending) -> list[str]:
    users = map(one.address_of, one.target.values.get("mailto-user", ()))
    return [*dict.fromkeys((*one.target.values.get("mailto", ()), *filter(None, users)))]


def _author(one: Sending) -> str:
    return str(one.target.values.get("author", one.author))


async def smtp(one: Sending) -> None:
    values = one.target.values
    mode = values.get("mode", "tls")
    user, password = str(values.get("username", "")), str(one.target.private.get("password", ""))
    if user and not password:
        raise PushError("username is set but no password was provided")
    server = mail.Server(values["server"], values.get("port", mail.PORTS[mode]), mode, user, password)
    await mail.send(
        server, mail.compose(one.note, _author(one), values["from-address"], _recipients(one), sendmail=False)
    )


async def sendmail(one: Sending) -> None:
    """Hand it to the local mailer, which knows a way out only if the lab was given a relay."""
    if not one.outbox.relay or not (to := _recipients(one)):
        return
    host, port = loopback.endpoint(one.outbox.relay)
    sender = str(one.target.values.get("from-address", f"root@{fqdn(one.note.host)}"))
    await mail.send(mail.Server(host, port), mail.compose(one.note, _author(one), sender, to, sendmail=True))


SENDERS: dict[str, Callable[[Sending], Awaitable[None]]] = {
    "webhook": webhook,
    "gotify": gotify,
    "smtp": smtp,
    "sendmail": sendmail,
}
