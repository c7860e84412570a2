"""A session with a mail server: what the listener asks of it, as methods. No fetch here marks a mail as read."""

import asyncio
import base64
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from mqtt_bridge.listeners.imap_errors import ImapError, ImapLoginError, ImapLostError, ImapRefusedError
from mqtt_bridge.listeners.imap_parse import Response, Value, arrived, decode_folder, encode_folder, items_of, number
from mqtt_bridge.listeners.imap_wire import COMMAND, Wire, connect
from mqtt_bridge.mail_tls import context
from mqtt_bridge.settings.listening import EmailInSettings

GOODBYE = 2.0  # seconds that a logout may take
_SLOWEST = 32 * 1024  # bytes per second that a fetch is given time for
_TEMPORARY = frozenset({"UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG", "CONTACTADMIN"})  # RFC 5530: not the password
_CODE = re.compile(rb"\* OK \[(UIDVALIDITY|UIDNEXT|PERMANENTFLAGS|READ-ONLY)(?: \(?([^\])]*)\)?)?\]", re.IGNORECASE)
_CHANGES = re.compile(rb"\* \d+ (?:EXISTS|RECENT)", re.IGNORECASE)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SHOWN_FOLDERS = 8


@dataclass(frozen=True, slots=True)
class Selected:
    """A folder as it was opened. `next_uid` is None where the server does not tell."""

    validity: int
    next_uid: int | None
    flags: frozenset[str]
    writable: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one mail: bytes, and when it came into the mailbox in Unix seconds."""

    size: int
    arrived: float | None


class Session:
    """Logged in. Any error but ImapRefusedError ends it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.capabilities: frozenset[str] = frozenset()

    @property
    def can_idle(self) -> bool:
        return "IDLE" in self.capabilities

    async def login(self, settings: EmailInSettings) -> None:
        """Encrypts first where that is set. Raises ImapLoginError when it was the user or the password."""
        greeting = await self._wire.greeting()
        await self._ask_capabilities()
        if settings.security == "starttls":
            await self._encrypt(settings)
        if greeting.line.upper().startswith(b"* PREAUTH"):
            raise ImapLostError("It lets everybody in without a login.", cure="Use a server that asks for one.")
        password = settings.password.reveal() if settings.password else ""
        try:
            await self._login(settings.username, password)
        except ImapRefusedError as error:
            reason = error.message.replace(password, "***") if password else error.message
            if error.code in _TEMPORARY:
                raise ImapLostError(reason, cure="The server says that this passes.") from None
            cure = "Check EVENT_EMAIL_USERNAME and EVENT_EMAIL_PASSWORD; many providers want an app password."
            raise ImapLoginError(f"{settings.server} refused the login. {reason}", cure=cure) from None
        await self._ask_capabilities()

    async def _encrypt(self, settings: EmailInSettings) -> None:
        if "STARTTLS" not in self.capabilities:
            cure = "Set EVENT_EMAIL_SECURITY=tls with port 993 if it has that; somebody in between may have removed it."
            raise ImapLostError("It offers no STARTTLS.", cure=cure)
        await self._wire.encrypt(context(verify=settings.verify), settings.server)
        await self._ask_capabilities()

    async def _login(self, user: str, password: str) -> None:
        if "AUTH=PLAIN" in self.capabilities:
            packed = base64.b64encode(f"\0{user}\0{password}".encode())
            await self._wire.command(b"AUTHENTICATE PLAIN", answer=packed)
        elif "LOGINDISABLED" in self.capabilities:
            raise ImapLostError("It allows no login without encryption.", cure="Set EVENT_EMAIL_SECURITY=starttls.")
        else:
            await self._wire.command(b"LOGIN " + quoted(user) + b" " + quoted(password))

    async def _ask_capabilities(self) -> None:
        words: set[str] = set()
        for response in await self._wire.command(b"CAPABILITY"):
            if response.line.upper().startswith(b"* CAPABILITY"):
                words.update(response.line.decode("latin-1").upper().split()[2:])
        self.capabilities = frozenset(words)

    async def folders(self) -> list[str]:
        """Their names as people write them."""
        names = []
        for response in await self._wire.command(b'LIST "" "*"'):
            if response.line.upper().startswith(b"* LIST "):
                with suppress(ValueError):
                    name = response.values()[-1]
                    names.append(decode_folder(name.decode("latin-1")) if isinstance(name, bytes) else "")
        return sorted(filter(None, names))

    async def select(self, folder: str, *, look: bool = False) -> Selected:
        """Open a folder, with `look` unable to change it. Raises ImapRefusedError that names the folders there are."""
        try:
            responses = await self._wire.command((b"EXAMINE " if look else b"SELECT ") + mailbox(folder))
        except ImapRefusedError as error:
            there = await self.folders()
            cure = f"There are: {', '.join(there[:_SHOWN_FOLDERS])}{' …' if len(there) > _SHOWN_FOLDERS else ''}."
            raise ImapRefusedError(f"The folder {folder} cannot be opened. {error.message}", cure=cure) from error
        codes = {m[1].upper(): m[2] or b"" for each in responses if (m := _CODE.match(each.line))}
        flags = frozenset(flag.decode("latin-1").casefold() for flag in codes.get(b"PERMANENTFLAGS", b"").split())
        read_only = b"[READ-ONLY]" in responses[-1].line.upper() or b"READ-ONLY" in codes
        return Selected(
            number(codes.get(b"UIDVALIDITY")) or 0, number(codes.get(b"UIDNEXT")), flags, writable=not read_only
        )

    async def uids_from(self, uid: int) -> list[int]:
        """Those of this UID and above, ascending."""
        return [
            each for each in await self._search(b"UID %d:*" % uid) if each >= uid
        ]  # `n:*` always names the last one too

    async def uids_since(self, moment: float) -> list[int]:
        """Those that arrived since, by whole days with one day to spare, ascending."""
        day = time.gmtime(moment - 86400)
        return await self._search(f"SINCE {day.tm_mday}-{_MONTHS[day.tm_mon - 1]}-{day.tm_year}".encode())

    async def _search(self, criteria: bytes) -> list[int]:
        found: set[int] = set()
        for response in await self._wire.command(b"UID SEARCH " + criteria):
            if response.line.upper().startswith(b"* SEARCH"):
                found.update(int(word) for word in response.line.split()[2:] if word.isdigit())
        return sorted(found)

    async def facts(self, uids: Sequence[int]) -> dict[int, Facts]:
        """Of those that are still there."""
        found = {}
        for items in await self._fetch(uids, b"(UID RFC822.SIZE INTERNALDATE)", COMMAND):
            uid, size = number(items.get("UID")), number(items.get("RFC822.SIZE"))
            if uid in uids and uid is not None and size is not None:
                found[uid] = Facts(size, arrived(items.get("INTERNALDATE")))
        return found

    async def content(self, uid: int, octets: int) -> bytes | None:
        """Its first `octets`, without marking it as read; None: it is gone."""
        limit = COMMAND + octets / _SLOWEST
        for items in await self._fetch((uid,), b"(UID BODY.PEEK[]<0.%d>)" % octets, limit):
            if number(items.get("UID")) == uid:
                body = next((value for name, value in items.items() if name.startswith("BODY[")), None)
                return body if isinstance(body, bytes) else b""
        return None

    async def _fetch(self, uids: Sequence[int], what: bytes, limit: float) -> list[dict[str, Value]]:
        if not uids:
            return []
        responses = await self._wire.command(b"UID FETCH " + _set(uids) + b" " + what, limit=limit)
        return [_items(response) for response in responses]

    async def flag(self, uids: Sequence[int], flag: str) -> None:
        await self._wire.command(b"UID STORE " + _set(uids) + b" +FLAGS.SILENT (" + flag.encode() + b")")

    async def move(self, uids: Sequence[int], folder: str) -> None:
        """MOVE where the server has it, else copy and delete; the folder is made if it is missing.

        Without UIDPLUS the originals stay marked as deleted: a plain EXPUNGE would take what others deleted too.
        """
        try:
            await self._move(uids, folder)
        except ImapRefusedError as error:
            if error.code not in ("TRYCREATE", "NONEXISTENT"):
                raise
            await self._wire.command(b"CREATE " + mailbox(folder))
            await self._move(uids, folder)

    async def _move(self, uids: Sequence[int], folder: str) -> None:
        where = _set(uids) + b" " + mailbox(folder)
        if "MOVE" in self.capabilities:
            await self._wire.command(b"UID MOVE " + where)
            return
        await self._wire.command(b"UID COPY " + where)
        await self.flag(uids, "\\Deleted")
        if "UIDPLUS" in self.capabilities:
            await self._wire.command(b"UID EXPUNGE " + _set(uids))

    async def idle(self, seconds: float) -> None:
        """Until something changes in the open folder, at most so long. A line that is dead shows at the end."""
        tag = await self._wire.send(b"IDLE")
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not _CHANGES.match((response := await self._wire.receive()).line):
                    if response.line.startswith(tag):
                        raise ImapLostError("It ended IDLE by itself.")
        try:
            async with asyncio.timeout(COMMAND):
                await self._wire.write(b"DONE\r\n")
                await self._wire.until_done(tag, "IDLE")
        except TimeoutError as error:
            raise ImapLostError("The connection died during IDLE.") from error

    async def logout(self) -> None:
        """Say goodbye, if it can be said soon."""
        with suppress(ImapError, OSError, EOFError, TimeoutError):
            async with asyncio.timeout(GOODBYE):
                await self._wire.command(b"LOGOUT")


@asynccontextmanager
async def session(settings: EmailInSettings) -> AsyncIterator[Session]:
    """Connected, encrypted as set, logged in."""
    async with connect(settings) as wire:
        made = Session(wire)
        await made.login(settings)
        yield made
        await made.logout()


def quoted(text: str) -> bytes:
    """A quoted string of ASCII. Raises ImapLostError for what cannot be one."""
    if not text.isascii() or not text.isprintable():
        raise ImapLostError("The user or password has characters that this server's LOGIN cannot take.")
    return b'"' + text.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'


def mailbox(folder: str) -> bytes:
    """A folder's name on the wire."""
    return quoted(encode_folder(folder))


def _set(uids: Sequence[int]) -> bytes:
    return b",".join(b"%d" % uid for uid in uids)


def _items(response: Response) -> dict[str, Value]:
    try:
        return items_of(response)
    except ValueError as error:
        raise ImapLostError(f"It answered with something that is no IMAP: {error}.") from error
