"""The attackers, in a process of their own: on every port at once until the time is over, then a line of JSON.

`python -m tests.system.attack_main '{"smtp": 2525, …}' SECONDS`. They come from addresses of loopback other than the
good sender's, as attackers would (`127.0.0.66` and on; Linux answers to all of them).
"""

import asyncio
import base64
import json
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from functools import partial
from itertools import count

from tests.system.attack_texts import MARK, NASTY_BYTES, figures, lines, mails, requests

HOST = "127.0.0.1"
LINUX = sys.platform == "linux"
LINES = 100_000
WORKERS = 6  # that post to the webhook
SLOW = 100  # connections that trickle, by port
HUGE = 50_000_000  # bytes of a mail
BEGINNINGS = {
    "webhook": b"POST /webhook HTTP/1.1\r\nHost: x\r\n",
    "metrics": b"POST /api/v2/write HTTP/1.1\r\n",
    "smtp": b"EHLO " + b"a" * 100,
    "syslog": b"<34>" + b"a" * 100,
}

done: Counter[str] = Counter()
_number = count()


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    source = (f"127.0.0.{66 + next(_number) % 4}", 0) if LINUX else None
    async with asyncio.timeout(10):
        return await asyncio.open_connection(HOST, port, local_addr=source)


async def exchange(port: int, sent: bytes) -> bytes:
    """Send it, and what is answered until the end."""
    reader, writer = await connect(port)
    try:
        async with asyncio.timeout(20):
            with suppress(ConnectionError):  # an answer may come before all was sent
                writer.write(sent)
                await writer.drain()
            return await reader.read(65536)
    finally:
        writer.close()


async def http(name: str, port: int, sent: bytes) -> None:
    try:
        answer = await exchange(port, sent)
    except (OSError, TimeoutError) as error:
        done[f"{name} {type(error).__name__}"] += 1
        return
    done[f"{name} {answer[9:12].decode() if answer.startswith(b'HTTP/1.') else 'cut off'}"] += 1


async def smtp_talk(port: int, commands: list[bytes], mail: bytes = b"") -> None:
    """Commands one by one; then a mail, whole or not."""
    try:
        reader, writer = await connect(port)
        try:
            async with asyncio.timeout(30):
                answer = await reader.readline()
                for command in commands:
                    writer.write(command + b"\r\n")
                    while (answer := await reader.readline())[3:4] == b"-":
                        pass
                if mail and answer.startswith(b"354"):
                    with suppress(ConnectionError):
                        writer.write(mail)
                        await writer.drain()
                    answer = await reader.readline()
        finally:
            writer.close()
    except (OSError, TimeoutError, ValueError) as error:
        done[f"smtp {type(error).__name__}"] += 1
        return
    done[f"smtp {answer[:3].decode(errors='replace') or 'cut off'}"] += 1


def login(user: str, password: str) -> bytes:
    return b"AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode())


async def attack_smtp(port: int, user: str, password: str) -> None:
    begin = [
        b"EHLO " + MARK.encode(),
        login(user, password),
        b"MAIL FROM:<root@pve1.lab>",
        b"RCPT TO:<proxmox@example.org>",
        b"DATA",
    ]
    nobody = [b"EHLO x", b"MAIL FROM:<a@b>"]
    await smtp_talk(port, nobody)  # what takes long comes later: a busy machine may not get so far
    await smtp_talk(port, [b"EHLO x", login("root", f"wrong-{MARK}")])
    await smtp_talk(port, begin, b"x" * HUGE + b"\r\n.\r\n")
    await smtp_talk(port, begin, b"\r\n" * (HUGE // 2) + b".\r\n")
    for mail in mails():
        await smtp_talk(port, begin, mail.replace(b"\r\n.", b"\r\n..") + b"\r\n.\r\n")
        await smtp_talk(port, begin, mail[:1000])  # and gone
        await smtp_talk(port, [b"EHLO x", login("root", f"wrong-{MARK}")])
        await smtp_talk(port, nobody)
        await smtp_talk(port, [NASTY_BYTES.replace(b"\n", b""), b"A" * 100_000])


async def attack_syslog_tcp(port: int) -> None:
    for source in (
        b"\n".join(lines(LINES)) + b"\n",
        b"<1>" + b"x" * HUGE,
        b"999999999 " + b"y" * 5_000_000,
        NASTY_BYTES * 100_000,
    ):
        with suppress(OSError, TimeoutError):
            _, writer = await connect(port)
            with closing(writer):
                async with asyncio.timeout(120):
                    writer.write(source)
                    await writer.drain()
                    done["syslog tcp bytes"] += len(source)


async def attack_udp(name: str, port: int, packets: list[bytes]) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as udp:
        for number, packet in enumerate(packets):
            with suppress(OSError):
                udp.sendto(packet[:65000], (HOST, port))
                done[f"{name} datagrams"] += 1
            if number % 20 == 0:
                await asyncio.sleep(0.01)


async def trickle(name: str, port: int, begin: bytes, end: float) -> None:
    """A slow loris: a byte a second, and back as soon as it is thrown out."""
    while time.monotonic() < end:
        try:
            reader, writer = await connect(port)
        except (OSError, TimeoutError):
            await asyncio.sleep(0.5)
            continue
        done[f"{name} slow connections"] += 1
        gone = asyncio.create_task(reader.read(1 << 20))
        try:
            for byte in begin:
                writer.write(bytes([byte]))
                await asyncio.sleep(1)
                if reader.at_eof() or writer.is_closing() or time.monotonic() > end:
                    break
        except OSError:
            pass
        finally:
            gone.cancel()
            writer.close()
            await asyncio.wait([gone])
            with suppress(OSError):
                gone.cancelled() or gone.exception()
        await asyncio.sleep(0.5)


async def over_and_over(what: Callable[[], Awaitable[None]], end: float) -> None:
    while time.monotonic() < end:
        await what()


async def main() -> None:
    os.nice(10)  # real attackers take no time from the machine that they attack
    given = json.loads(sys.argv[1])
    end = time.monotonic() + float(sys.argv[2])
    token = given["token"]
    hostile = [request.text(token) for request in requests()]
    head = b"POST /api/v2/write HTTP/1.1\r\nHost: x\r\nAuthorization: Token %s\r\nContent-Length: %d\r\n\r\n%s"
    pushes = [head % (who, len(body), body) for body in figures() for who in (token.encode(), b"wrong")]
    datagrams = [body for body in figures() if len(body) < 65000] * 1000

    async def web(place: int) -> None:
        """Each worker begins elsewhere, so that everything is sent in time."""
        begin = place * len(hostile) // WORKERS
        for sent in (*hostile[begin:], *hostile[:begin]):
            await http("webhook", given["webhook"], sent)

    async def metrics() -> None:
        for sent in [*pushes, *(h for h in hostile if not h.startswith(b"POST /"))]:
            await http("metrics", given["metrics"], sent)

    attacks: list[Awaitable[None]] = [
        *(over_and_over(partial(web, place), end) for place in range(WORKERS)),
        over_and_over(metrics, end),
        *(over_and_over(lambda: attack_smtp(given["smtp"], given["user"], given["password"]), end) for _ in range(2)),
        attack_syslog_tcp(given["syslog"]),
        attack_udp("syslog", given["syslog"], list(lines(20_000))),
        attack_udp("metrics", given["metrics_udp"], datagrams),
        *(trickle(name, given[name], begin, end) for name, begin in BEGINNINGS.items() for _ in range(SLOW)),
    ]
    tasks = [asyncio.ensure_future(each) for each in attacks]
    _, late = await asyncio.wait(tasks, timeout=max(0.1, end - time.monotonic() + 1))
    for each in late:
        each.cancel()
    if late:
        await asyncio.wait(late)
    for each in tasks:
        if not each.cancelled() and each.exception():
            done[f"failed: {each.exception()!r}"[:300]] += 1
    sys.stdout.write(json.dumps(done) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
