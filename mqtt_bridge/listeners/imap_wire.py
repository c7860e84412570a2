"""IMAP on the wire: commands and responses over asyncio streams, each with a limit in time and size.

Of the libraries none stops at a limit: imaplib knows IDLE only since Python 3.14, and like IMAPClient takes a literal
of any length and blocks a thread; IMAPClient 4.1 fails at an EXISTS that comes before the `+` of IDLE, and misses what
TLS has buffered; aioimaplib is under the GPL, and hangs when the server closes during IDLE.
"""

import asyncio
import secrets
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from mqtt_bridge.listeners.imap_errors import ImapLostError, ImapRefusedError
from mqtt_bridge.listeners.imap_parse import Response, literal_length
from mqtt_bridge.mail_tls import context
from mqtt_bridge.settings.listening import EmailInSettings
from mqtt_bridge.wording.clean import one_line

CONNECT, COMMAND = 15.0, 30.0  # seconds
_LINE = 1024 * 1024  # bytes; a search that finds 100 000 mails is one line
_LITERAL = 12 * 1024 * 1024  # bytes
_RESPONSES = 50_000  # of one command
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 3}  # a dead line is noticed after 2 minutes


class Wire:
    """One connection. After any error but ImapRefusedError it is of no more use."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._prefix = secrets.token_hex(3).encode()  # nobody who injects can guess it
        self._count = 0

    async def greeting(self) -> Response:
        """What the server says first."""
        async with _within(CONNECT, "greeting"):
            response = await self.receive()
        if not response.line.upper().startswith((b"* OK", b"* PREAUTH")):
            raise ImapLostError(f"It does not greet as an IMAP server: {shown(response.line)}.")
        return response

    async def command(self, command: bytes, *, answer: bytes = b"", limit: float = COMMAND) -> list[Response]:
        """The responses before the OK, and the OK itself as the last. `answer` is sent when the server asks for it."""
        name = command.split(b" ", 3)[0].decode()
        async with _within(limit, name):
            tag = await self.send(command)
            return await self.until_done(tag, name, answer=answer)

    async def send(self, command: bytes) -> bytes:
        """Returns the tag."""
        self._count += 1
        tag = b"%s%d" % (self._prefix, self._count)
        await self.write(tag + b" " + command + b"\r\n")
        return tag

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def until_done(self, tag: bytes, name: str, *, answer: bytes = b"") -> list[Response]:
        responses: list[Response] = []
        while len(responses) < _RESPONSES:
            response = await self.receive()
            responses.append(response)
            if response.line.startswith(tag + b" "):
                _raise_unless_ok(name, response.line[len(tag) + 1 :])
                return responses
            if response.line.startswith(b"+") and answer:
                await self.write(answer + b"\r\n")
                answer = b""
        raise ImapLostError(f"{name} was answered with more than {_RESPONSES} lines.")

    async def receive(self) -> Response:
        """The next response with its literals; without a limit in time."""
        line, literals = b"", []
        size = 0
        while True:
            part = (await self._reader.readuntil(b"\r\n"))[:-2]
            line += part
            length = literal_length(part)
            if length is None:
                break
            size += length
            if size > _LITERAL or len(line) > _LINE:
                raise ImapLostError(f"It sends {size} bytes at once, which is more than was asked for.")
            literals.append(await self._reader.readexactly(length))
        if line[:5].upper() == b"* BYE":
            raise ImapLostError(f"It closed the connection: {shown(line[5:])}.")
        return Response(line, tuple(literals))

    async def encrypt(self, context: ssl.SSLContext, host: str) -> None:
        """STARTTLS. What was sent in the clear after its OK came from somebody in between."""
        await self.command(b"STARTTLS")
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                if await self._reader.read(1):
                    raise ImapLostError("It sent more before the encryption began: somebody may be in between.")
        await self._writer.start_tls(context, server_hostname=host)


@asynccontextmanager
async def connect(settings: EmailInSettings) -> AsyncIterator[Wire]:
    """Connected, with TLS from the start where that is set. Whatever fails on the line becomes ImapLostError."""
    encrypted = settings.security == "tls"
    writer: asyncio.StreamWriter | None = None
    try:
        async with _within(CONNECT, "connecting"):
            reader, writer = await asyncio.open_connection(
                settings.server,
                settings.port,
                limit=_LINE,
                ssl=context(verify=settings.verify) if encrypted else None,
                ssl_handshake_timeout=CONNECT if encrypted else None,
            )
        _keep_alive(writer)
        yield Wire(reader, writer)
    except ssl.SSLCertVerificationError as error:
        raise _untrusted(settings, error) from error
    except ssl.SSLError as error:
        cure = "Check EVENT_EMAIL_SECURITY: port 993 speaks TLS from the start, port 143 STARTTLS."
        raise ImapLostError(f"{settings.server}:{settings.port} does not speak TLS.", cure=cure) from error
    except asyncio.LimitOverrunError as error:
        raise ImapLostError("It sent a line that is too long.") from error
    except asyncio.IncompleteReadError as error:
        raise ImapLostError("It closed the connection.") from error
    except OSError as error:
        cure = "Check EVENT_EMAIL_IMAP_SERVER and EVENT_EMAIL_IMAP_PORT, and that the server runs."
        reason = error.strerror or type(error).__name__
        raise ImapLostError(f"{settings.server}:{settings.port} cannot be reached: {reason}.", cure=cure) from error
    finally:
        if writer is not None:
            writer.transport.abort()


def _untrusted(settings: EmailInSettings, error: ssl.SSLCertVerificationError) -> ImapLostError:
    cure = (
        "Name the server as its certificate does, or make its CA known (SSL_CERT_FILE); "
        "EVENT_EMAIL_VERIFY_TLS=false checks nothing."
    )
    return ImapLostError(f"The certificate of {settings.server} is not trusted: {error.verify_message}.", cure=cure)


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    line: socket.socket = writer.get_extra_info("socket")
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if (option := getattr(socket, name, None)) is not None:
            line.setsockopt(socket.IPPROTO_TCP, option, value)


@asynccontextmanager
async def _within(seconds: float, what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise ImapLostError(f"No answer to {what} within {seconds:g} seconds.") from error


def _raise_unless_ok(name: str, status: bytes) -> None:
    word, _, text = status.partition(b" ")
    if word.upper() == b"OK":
        return
    code = text[1:].split(b"]")[0].split(b" ")[0].decode("latin-1").upper() if text.startswith(b"[") else ""
    raise ImapRefusedError(f"{name} was refused: {shown(text)}.", code=code)


def shown(line: bytes) -> str:
    """What a server said, fit for a log."""
    return one_line(line.decode("utf-8", "replace"), 160).rstrip(".")
