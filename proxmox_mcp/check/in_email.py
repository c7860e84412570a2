"""The EMAIL listener: is the mailbox let in to, are its folders there, can mails be marked as is wanted."""

import asyncio

from mqtt_bridge.listeners.imap_errors import ImapError, ImapLoginError, ImapRefusedError
from mqtt_bridge.listeners.imap_folder import KEYWORD
from mqtt_bridge.listeners.imap_session import Selected, Session, session
from mqtt_bridge.settings import Settings, is_loopback
from mqtt_bridge.settings.listening import EmailInSettings
from proxmox_mcp.check.findings import Finding

_SUBJECT = "listener EMAIL"


async def check_email(settings: Settings, limit: float) -> list[Finding]:
    """[] when it is not enabled. Folders are only looked at: no mail is read or marked."""
    if "EMAIL" not in settings.events.enabled:
        return []
    chosen = settings.listen.email
    findings: list[Finding] = []
    try:
        async with asyncio.timeout(limit), session(chosen) as opened:
            findings.append(Finding(_SUBJECT, "login", True, f"{chosen.username} is let in to {chosen.server}"))
            findings.append(_idle(opened, chosen))
            findings += [await _folder(opened, folder, chosen) for folder in chosen.folders]
    except ImapLoginError as error:
        findings.append(Finding(_SUBJECT, "login", False, error.message, error.cure))
    except ImapError as error:
        findings.append(Finding(_SUBJECT, "connect", False, error.message, error.cure))
    except TimeoutError:
        detail = f"{chosen.server} did not answer everything within {limit:g} seconds"
        findings.append(Finding(_SUBJECT, "connect", False, detail, "It is overloaded or hangs: look at it."))
    if chosen.security == "none" and not is_loopback(chosen.server):
        cure = "Set EVENT_EMAIL_SECURITY=tls or starttls."
        findings.append(Finding(_SUBJECT, "encryption", None, "the password crosses the network unencrypted", cure))
    return findings


def _idle(opened: Session, chosen: EmailInSettings) -> Finding:
    if opened.can_idle:
        return Finding(_SUBJECT, "IDLE", True, "the server tells of new mail at once")
    return Finding(_SUBJECT, "IDLE", None, f"the server has no IDLE: looked for every {chosen.poll_interval:g} s")


async def _folder(opened: Session, folder: str, chosen: EmailInSettings) -> Finding:
    try:
        selected = await opened.select(folder, look=True)
    except ImapRefusedError as error:
        return Finding(_SUBJECT, f"folder {folder}", False, error.message, error.cure)
    if chosen.processed == "flag" and not _keeps_keywords(selected):
        detail = "it is there; the server keeps no keywords, so that mails are not marked"
        return Finding(_SUBJECT, f"folder {folder}", None, detail, "EVENT_EMAIL_PROCESSED=seen or move:FOLDER marks.")
    return Finding(_SUBJECT, f"folder {folder}", True, "it is there")


def _keeps_keywords(selected: Selected) -> bool:
    """Opened to look, many servers tell of no flags that last: then nothing is known against it."""
    return not selected.flags or bool(selected.flags & {"\\*", KEYWORD.casefold()})
