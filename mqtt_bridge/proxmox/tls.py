"""How a host proves who it is: a CA that is trusted, or a pinned certificate; and what it showed when it could not."""

import hashlib
import socket
import ssl

from certifi import where

from mqtt_bridge.errors import TlsError
from mqtt_bridge.settings import Endpoint


def context(endpoint: Endpoint) -> ssl.SSLContext:
    """Verifies unless told not to, or unless a fingerprint is pinned: the connection pool then compares that."""
    if endpoint.fingerprint or not endpoint.verify:
        return _unverified()
    made = ssl.create_default_context()
    try:
        made.load_verify_locations(where())
        if endpoint.ca_file:
            made = ssl.create_default_context(cafile=str(endpoint.ca_file))
    except (OSError, ssl.SSLError) as error:
        raise TlsError(
            f"The CA file {endpoint.ca_file} of {endpoint.name} cannot be used: {error}.",
            cure="Give a readable PEM file, e.g. a copy of the cluster's /etc/pve/pve-root-ca.pem.",
            host=endpoint.name,
        ) from error
    # What Python 3.13 made strict, the cluster's own CA does not fulfil; a host's certificate alone may be the anchor.
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return made


def _unverified() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def shown_fingerprint(endpoint: Endpoint, timeout: float = 3) -> str:
    """SHA-256 of the certificate that the host shows now, as `AA:BB:…`; empty if it shows none. Sends nothing."""
    try:
        with (
            socket.create_connection((endpoint.host, endpoint.port), timeout=timeout) as plain,
            _unverified().wrap_socket(plain, server_hostname=endpoint.tls_name or endpoint.host) as secured,
        ):
            certificate = secured.getpeercert(binary_form=True)
    except (OSError, ValueError):
        return ""
    return hashlib.sha256(certificate).digest().hex(":").upper() if certificate else ""
