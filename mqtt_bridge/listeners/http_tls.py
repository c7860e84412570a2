"""A server's certificate: loaded at the start, and again when its files are renewed, without a restart."""

import asyncio
import logging
import ssl
from pathlib import Path

log = logging.getLogger(__name__)

EVERY = 60.0  # seconds between two looks at the files


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer. Raises OSError (ssl.SSLError is one) where the files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


async def keep_fresh(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Go on until cancelled; files that do not fit each other (yet) change nothing and are tried again."""
    seen = await asyncio.to_thread(_stamp, certificate, key)
    while True:
        await asyncio.sleep(EVERY)
        try:
            now = await asyncio.to_thread(_stamp, certificate, key)
            if now == seen:
                continue
            await asyncio.to_thread(server_context, certificate, key)
            await asyncio.to_thread(context.load_cert_chain, certificate, key)
        except OSError as error:
            log.warning("The renewed certificate %s is not used: %s", certificate, error.strerror or error)
        else:
            seen = now
            log.info("The certificate %s was renewed", certificate)


def _stamp(*files: Path) -> list[tuple[int, int]]:
    return [(stat.st_mtime_ns, stat.st_size) for stat in (file.stat() for file in files)]
