"""One API host over HTTPS, as proxmoxer does it: the only module that imports proxmoxer and requests.

Everything here blocks: it runs in the host's threads, never on the event loop. Imported late, for a fast start.
"""

import io
import json
import threading
import time
from collections.abc import Mapping
from typing import Any

import requests
from proxmoxer.backends.https import Backend
from proxmoxer.core import ProxmoxResource, ResourceException
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from mqtt_bridge.proxmox import network, tls
from mqtt_bridge.proxmox.calls import Answer, Call
from mqtt_bridge.proxmox.segments import encode
from mqtt_bridge.proxmox.translate import Reply, answer_error, not_proxmox
from mqtt_bridge.secret import STARS
from mqtt_bridge.settings import Endpoint

MAX_BODY = 64 * 1024 * 1024
MAX_IDLE = 3.0  # seconds; Proxmox closes an idle connection after 5
_CHUNK = 64 * 1024
_VENDOR = (requests.RequestException, HTTPError, OSError, ValueError)


class _UnexpectedAnswerError(Exception):
    """Not what a Proxmox API sends; the text says what it was."""


class _Current(threading.local):
    """The call that this thread carries out: requests has no way to hand it to a connection."""

    call: Call


_current = _Current()


class _Connection(HTTPSConnection):
    """Tells its call how far it came, and is not used again where that could go wrong."""

    used_at = 0.0

    @property
    def is_connected(self) -> bool:
        """A write gets a new connection: on one that the host just closed, nobody could tell whether it arrived."""
        recent = time.monotonic() - self.used_at < MAX_IDLE
        return recent and not _current.call.want_fresh and super().is_connected

    def connect(self) -> None:
        _current.call.fresh = True
        super().connect()

    def request(self, *args: Any, **kwargs: Any) -> None:
        call = _current.call
        call.sock = self.sock
        self.used_at = time.monotonic()
        if call.aborted:
            raise TimeoutError
        call.sent = True
        super().request(*args, **kwargs)


class _Pool(HTTPSConnectionPool):
    ConnectionCls = _Connection


class _Adapter(HTTPAdapter):
    """TLS as the endpoint's settings say; no redirects; answers bounded in size, and by the call in time."""

    def __init__(self, endpoint: Endpoint, size: int) -> None:
        self._endpoint = endpoint
        super().__init__(pool_connections=1, pool_maxsize=size, pool_block=True, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **_: Any) -> None:
        self.poolmanager = PoolManager(
            num_pools=connections,
            maxsize=maxsize,
            block=block,
            ssl_context=tls.context(self._endpoint),
            assert_fingerprint=self._endpoint.fingerprint,
            server_hostname=self._endpoint.tls_name,
        )
        self.poolmanager.pool_classes_by_scheme = {"https": _Pool}

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """Requests' own settings of TLS stay out: the context of the pool decides."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """The same."""

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        call = _current.call
        left = max(0.05, call.remaining)
        timeout = (min(call.connect, left), min(call.read, left))
        response = super().send(request, stream=True, timeout=timeout)
        call.status = response.status_code
        if 300 <= response.status_code < 400:  # noqa: PLR2004
            response.close()
            raise _UnexpectedAnswerError(f"a redirect ({response.status_code})")
        body = _bounded(response.raw, call)
        if response.status_code >= 400:  # noqa: PLR2004
            body = self._scrub(body)
            response.reason = self._scrub(response.reason.encode()).decode()
        response.raw = io.BytesIO(body)
        return response

    def _scrub(self, text: bytes) -> bytes:
        """Errors are shown to people: without our token, should a host send it back."""
        token = self._endpoint.token_value.reveal().encode()
        return text.replace(token, STARS.encode()) if token else text


def _bounded(raw: Any, call: Call) -> bytes:
    body = bytearray()
    for chunk in raw.stream(_CHUNK, decode_content=True):
        body += chunk
        if len(body) > MAX_BODY:
            raw.close()
            raise _UnexpectedAnswerError(f"more than {MAX_BODY // 1024**2} MiB")
        if call.aborted or not call.remaining:
            raw.close()
            raise TimeoutError
    return bytes(body)


class _Serializer:
    """Instead of proxmoxer's: that one drops `total`, and turns HTML into data."""

    def loads(self, response: requests.Response) -> Answer:
        try:
            parsed = json.loads(response.content)
        except ValueError as error:
            what = "HTML" if response.content.lstrip()[:1] == b"<" else "no valid JSON"
            raise _UnexpectedAnswerError(what) from error
        if not isinstance(parsed, dict) or "data" not in parsed:
            raise _UnexpectedAnswerError("JSON without data")
        total = parsed.get("total")
        return Answer(parsed["data"], total if isinstance(total, int) else None)

    def loads_errors(self, response: requests.Response) -> Any:
        """The whole body: as JSON, else as text."""
        try:
            return json.loads(response.content)
        except ValueError:
            return response.content[:4096].decode("utf-8", "replace")


class Transport:
    """Carries out calls to one endpoint, each in the thread that asks; `size` of them at once."""

    def __init__(self, endpoint: Endpoint, size: int) -> None:
        self._endpoint = endpoint
        backend = Backend(
            f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host,
            port=endpoint.port,
            user=endpoint.user,
            token_name=endpoint.token_name,
            token_value=endpoint.token_value.reveal(),
            service=endpoint.kind.upper(),
        )
        self._session = backend.get_session()
        self._session.trust_env = False
        self._session.adapters.clear()
        self._session.mount("https://", _Adapter(endpoint, size))
        self._api = ProxmoxResource(base_url=backend.get_base_url(), session=self._session, serializer=_Serializer())

    def __repr__(self) -> str:
        return f"Transport({self._endpoint.url})"

    def perform(self, call: Call) -> Answer:
        """The answer, or a ProxmoxError; `call` then says how far it came. Only a stale connection is tried twice."""
        try:
            return self._send(call)
        except _VENDOR as error:
            if not _stale(call, error):
                raise network.error(_harmless(error), self._endpoint, call) from error
        call.want_fresh = True
        try:
            return self._send(call)
        except _VENDOR as error:
            raise network.error(_harmless(error), self._endpoint, call) from error

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def _send(self, call: Call) -> Answer:
        _current.call = call
        resource = self._api(call.path.split("/"))
        params = encode(self._endpoint.kind, call.params)
        try:
            answer: Answer = _METHODS[call.method](resource, params)
        except ResourceException as error:
            raise answer_error(_reply(call, error), self._endpoint) from error
        except _UnexpectedAnswerError as error:
            call.fault = "protocol"
            raise not_proxmox(self._endpoint, str(error)) from error
        return answer


_METHODS: Mapping[str, Any] = {
    "GET": lambda resource, params: resource.get(**params),
    "POST": lambda resource, params: resource.post(**params),
    "PUT": lambda resource, params: resource.put(**params),
    "DELETE": lambda resource, params: resource.delete(**params),
}


def _reply(call: Call, error: ResourceException) -> Reply:
    # content is the status line's text; status_message is proxmoxer's own idea of it
    return Reply(error.status_code, str(error.content), error.errors, call.method, call.path, call.node)


def _stale(call: Call, error: Exception) -> bool:
    """A kept connection that the host had closed: asking again on a new one is no second try."""
    slow = any(isinstance(each, TimeoutError) for each in network.chain(error))
    return call.method == "GET" and call.sent and not call.fresh and not call.aborted and not slow


def _harmless(error: Exception) -> Exception:
    """Without the request and its headers, which hold the token."""
    if isinstance(error, requests.RequestException):
        error.request = None
        error.response = None
    return error
