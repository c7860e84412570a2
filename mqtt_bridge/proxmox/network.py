"""No answer: what the chain of requests', urllib3's and the system's errors really says, in one sentence."""

import errno
import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from urllib3.exceptions import SSLError

from mqtt_bridge.errors import ProxmoxError, TlsError, UnreachableError
from mqtt_bridge.proxmox import tls
from mqtt_bridge.proxmox.calls import Call, Fault
from mqtt_bridge.proxmox.translate import MAYBE_DONE, clean, not_proxmox
from mqtt_bridge.settings import Endpoint

_NO_ROUTE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})


def chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and everything that it wraps, however the libraries wrapped it."""
    todo, seen = [error], set[int]()
    while todo:
        each = todo.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        wrapped = (each.__cause__, each.__context__, getattr(each, "reason", None), *each.args)
        todo += [inner for inner in wrapped if isinstance(inner, BaseException)]


def error(raised: Exception, endpoint: Endpoint, call: Call) -> ProxmoxError:
    """Ours for `raised`; sets `call.fault`."""
    where = f"{endpoint.name} ({endpoint.host}:{endpoint.port})"
    links = list(chain(raised))
    if call.aborted or any(isinstance(each, TimeoutError) for each in links):
        return timed_out(endpoint, call)
    if any(isinstance(each, http.client.BadStatusLine) for each in links) and not _closed(links):
        call.fault = "protocol"
        return not_proxmox(endpoint, "something that is not HTTP")
    if call.sent:
        return _unreachable(call, "lost", f"{where} closed the connection before its answer was complete.", endpoint)
    if any(isinstance(each, ssl.SSLError | SSLError) for each in links) and not _closed(links):
        return _tls_error(links, endpoint, call)
    row = next((row for row in _ROWS if any(row.fits(each) for each in links)), None)
    system = next((each for each in reversed(links) if isinstance(each, OSError)), raised)
    why = row.message if row else clean(getattr(system, "strerror", None) or type(system).__name__)
    message = f"No connection to {where}: {why}."
    return _unreachable(call, "connect", message, endpoint, row.cure if row else _SWITCHED_ON)


_LISTENS = "Check host and port; does pveproxy (8006) or proxmox-backup-proxy (8007) run there?"
_SWITCHED_ON = "Is the host switched on, and reachable from this machine?"


@dataclass(frozen=True)
class _Row:
    fits: Callable[[BaseException], bool]
    message: str
    cure: str


_ROWS = (
    _Row(
        lambda each: isinstance(each, socket.gaierror),
        "its name cannot be resolved",
        "Check its spelling and this machine's DNS.",
    ),
    _Row(lambda each: isinstance(each, ConnectionRefusedError), "refused, nothing listens there", _LISTENS),
    _Row(lambda each: isinstance(each, OSError) and each.errno in _NO_ROUTE, "there is no route to it", _SWITCHED_ON),
)


def timed_out(endpoint: Endpoint, call: Call) -> UnreachableError:
    """Nothing came in time: no free thread, no connection, or no (complete) answer."""
    where = f"{endpoint.name} ({endpoint.host}:{endpoint.port})"
    if not call.started:
        message = f"{where} is busy with earlier calls that it has not answered."
        return _unreachable(call, "busy", message, endpoint, "Try again later.")
    if not call.sent:
        message = f"No connection to {where} in time."
        return _unreachable(call, "connect", message, endpoint, _SWITCHED_ON)
    through = f"Node {call.node}, asked through {where}," if call.node else where
    message = f"{through} did not answer {call.method} /{call.path} in time."
    return _unreachable(call, "timeout", message, endpoint, "It may be overloaded or hanging.")


def _unreachable(call: Call, fault: Fault, message: str, endpoint: Endpoint, cure: str = "") -> UnreachableError:
    call.fault = fault
    if call.sent and call.method != "GET":
        cure = MAYBE_DONE
    return UnreachableError(message, cure=cure, host=endpoint.name)


def _closed(links: list[BaseException]) -> bool:
    """The host hung up, in whatever words."""
    ended = (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
    return any(isinstance(each, (*ended, http.client.RemoteDisconnected)) for each in links)


def _tls_error(links: list[BaseException], endpoint: Endpoint, call: Call) -> ProxmoxError:
    reasons = [each for each in links if isinstance(each, ssl.SSLError)]
    if any(each.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST"} for each in reasons):
        call.fault = "protocol"
        return not_proxmox(endpoint, "something that is not TLS")
    call.fault = "tls"
    shown = tls.shown_fingerprint(endpoint)
    if endpoint.fingerprint:
        return _wrong_pin(endpoint, shown)
    verify = next((each for each in reasons if isinstance(each, ssl.SSLCertVerificationError)), None)
    last = reasons[-1] if reasons else links[-1]
    why = clean(verify.verify_message if verify else (getattr(last, "reason", "") or str(last)))
    return TlsError(
        f"The certificate of {endpoint.name} ({endpoint.host}:{endpoint.port}) is not trusted: {why}.",
        cure=f"If that is the right host ({_SHOW[endpoint.kind]} shows the same), pin it with …_FINGERPRINT={shown}"
        " or give its CA with …_CA_FILE.",
        host=endpoint.name,
        fingerprint=shown,
    )


_SHOW = {"pve": "`pvenode cert info` on it", "pbs": "`proxmox-backup-manager cert info` on it"}


def _wrong_pin(endpoint: Endpoint, shown: str) -> TlsError:
    return TlsError(
        f"{endpoint.name} ({endpoint.host}:{endpoint.port}) does not show the pinned certificate"
        f" {endpoint.fingerprint} but {shown or 'none'}.",
        cure=f"If it was renewed ({_SHOW[endpoint.kind]} shows the same), set …_FINGERPRINT={shown};"
        " otherwise somebody else answers at this address.",
        host=endpoint.name,
        fingerprint=shown,
    )
