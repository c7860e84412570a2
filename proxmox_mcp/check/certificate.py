"""The certificate of a host: trusted, pinned, or what to write so that it is."""

import ssl
from dataclasses import replace

from cryptography import x509

from mqtt_bridge.errors import TlsError
from mqtt_bridge.proxmox import tls
from proxmox_mcp.check import wire
from proxmox_mcp.check.host import PORTS, PRODUCTS, Host

_SHOW = {"pve": "pvenode cert info", "pbs": "proxmox-backup-manager cert info"}


async def check_certificate(host: Host) -> None:
    shown = await _shown(host)
    one, found = host.endpoint, wire.fingerprint(shown)
    if one.fingerprint:
        if found != one.fingerprint:
            cure = (
                f"If it was renewed, `{_SHOW[one.kind]}` on the host shows the same: "
                f"write {host.key('FINGERPRINT')}={found}\n"
                "If it does not, somebody else answers at this address: keep the setting and look into it."
            )
            raise host.fail("tls", f"the certificate is not the pinned one; it shows {found}", cure)
        host.note("tls", True, "the certificate is the pinned one")
    elif not one.verify:
        host.note("tls", None, "the certificate is not checked, as the settings say", _pin(host, found))
    else:
        await _verified(host, shown, found)


async def _shown(host: Host) -> bytes:
    one = host.endpoint
    unverified = tls.context(replace(one, verify=False, fingerprint=None))
    try:
        return await wire.certificate(host.address, one.port, unverified, one.tls_name or one.host)
    except ssl.SSLError as error:
        cure = (
            f"Check host and port in {host.address_key}: {PRODUCTS[one.kind]} listens on {PORTS[one.kind]}, with https."
        )
        raise host.fail("tls", "what answers does not speak TLS, so it is no Proxmox API", cure) from error
    except (TimeoutError, OSError) as error:
        cure = f"Check host and port in {host.address_key}; a hanging host or a firewall does this too."
        raise host.fail("tls", "the connection gave no TLS answer", cure) from error


async def _verified(host: Host, shown: bytes, found: str) -> None:
    one = host.endpoint
    try:
        await wire.certificate(host.address, one.port, tls.context(one), one.tls_name or one.host)
    except TlsError as error:
        raise host.fail("tls", error.message, f"{error.cure} ({host.key('CA_FILE')})") from error
    except ssl.SSLCertVerificationError as error:
        mismatch = "mismatch" in error.verify_message or "not valid for" in error.verify_message
        cure = _name_line(host, shown) + _pin(host, found) if mismatch else _pin(host, found)
        raise host.fail("tls", f"the certificate is not trusted: {error.verify_message}", cure) from error
    except (TimeoutError, OSError) as error:
        cure = f"Check host and port in {host.address_key}; a hanging host or a firewall does this too."
        raise host.fail("tls", "the second connection gave no TLS answer", cure) from error
    host.note("tls", True, "the certificate is trusted" + (f" (by {one.ca_file})" if one.ca_file else ""))


def _pin(host: Host, found: str) -> str:
    one = host.endpoint
    ca_line = f"copy /etc/pve/pve-root-ca.pem from the host and write {host.key('CA_FILE')}=<the copy>"
    if host.shares_keys:
        return f"To trust the cluster's own CA, {ca_line}"
    lines = f"If `{_SHOW[one.kind]}` on the host shows the same fingerprint, pin it: {host.key('FINGERPRINT')}={found}"
    return f"{lines}\nOr {ca_line}" if one.kind == "pve" else lines


def _name_line(host: Host, shown: bytes) -> str:
    try:
        names = x509.load_der_x509_certificate(shown).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        found = names.value.get_values_for_type(x509.DNSName)
    except (ValueError, x509.ExtensionNotFound):
        found = []
    return f"It is for {', '.join(found[:4])}: write {host.key('TLS_NAME')}={found[0]}\n" if found else ""
