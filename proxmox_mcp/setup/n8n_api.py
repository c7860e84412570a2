"""n8n's public API, as much as importing workflows needs."""

import json
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout

from mqtt_bridge.errors import BridgeError

LIMIT = ClientTimeout(total=30)
LARGEST = 16 * 1024 * 1024  # bytes of an answer
PAGES = 40  # of 250 workflows
SHOWN = 300  # characters of n8n's words


class N8nError(BridgeError):
    """n8n does not answer, or refuses; the message has its words."""


class Api:
    """`async with` it. Redirects and proxies of the environment are not used: the key goes to this host alone."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
            raise BridgeError(f"{url!r} is no address of n8n.", cure="Write it like http://192.0.2.20:5678")
        self.url = url.rstrip("/")
        self._key = key
        self._web: ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"X-N8N-API-KEY": self._key, "accept": "application/json"}
        self._web = await ClientSession(timeout=LIMIT, headers=headers).__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._web:
            await self._web.close()

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        """Raises N8nError."""
        assert self._web is not None  # noqa: S101 -- it is open inside its block
        try:
            bare = () if body is not None else ("Content-Type",)  # n8n takes none with an empty body
            async with self._web.request(
                method, f"{self.url}/api/v1{path}", json=body, allow_redirects=False, skip_auto_headers=bare
            ) as answer:
                text = (await _whole(answer)).decode(errors="replace")
                status = answer.status
        except (ClientError, TimeoutError, OSError) as error:
            why = str(error) or type(error).__name__
            raise N8nError(f"n8n does not answer at {self.url}: {why}", cure="Check --url.") from error
        if status == HTTPStatus.UNAUTHORIZED:
            raise N8nError("n8n refuses the API key.", cure="Make a new one in n8n (Settings, n8n API).")
        try:
            said = json.loads(text) if text else {}
        except ValueError:
            raise N8nError(f"What answers at {self.url} is not n8n's API ({status}).", cure="Check --url.") from None
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            words = said.get("message", text) if isinstance(said, dict) else text
            raise N8nError(f"{method} {path}: {status} {str(words)[:SHOWN]}")
        return said

    async def every(self, path: str) -> list[dict[str, Any]]:
        """All pages of a list."""
        rows: list[dict[str, Any]] = []
        cursor = ""
        for _ in range(PAGES):
            page = await self.ask("GET", f"{path}?limit=250" + (f"&cursor={cursor}" if cursor else ""))
            rows += page["data"]
            cursor = page.get("nextCursor") or ""
            if not cursor:
                break
        return rows


async def _whole(answer: ClientResponse) -> bytes:
    """The body; raises N8nError where it is larger than any answer of n8n."""
    body = bytearray()
    async for part in answer.content.iter_any():
        body += part
        if len(body) > LARGEST:
            raise N8nError(f"An answer is larger than {LARGEST >> 20} MiB.", cure="Check --url.")
    return bytes(body)
