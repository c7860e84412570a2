"""How an approver shows who he is. Whatever is compared is compared in constant time.

An approver's secret is random and long; APPROVERS has its SHA-256. That hash checks the secret where somebody types it,
and is the key of proofs over MQTT: so whoever reads APPROVERS can make such proofs (and could as well read or write
anything else of this service), while whoever sees a proof can make no other.
"""

import hmac
import re
import secrets
from dataclasses import dataclass
from hashlib import sha256

from mqtt_bridge.approvals.types import Approval, Decision
from mqtt_bridge.settings.approving import Approver

FRESH = 60.0  # seconds between a proof's time and our clock
SECRET_PREFIX = "apr_"  # noqa: S105 -- how every secret begins
SECRET_BYTES = 24
CODE_LETTERS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # none that is read as another
CODE_LENGTH = 8
_CODE = re.compile(r"[\s-]")
_CONTEXT = "proxmox-mcp approval"


def new_secret() -> str:
    """For an approver to keep."""
    return SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def key_of(secret: str) -> str:
    """What APPROVERS has of a secret: SHA-256 in hex."""
    return sha256(secret.encode()).hexdigest()


def knows_secret(approver: Approver, secret: str) -> bool:
    """Whether this is the approver's secret."""
    return hmac.compare_digest(key_of(secret.strip()), approver.key.reveal())


@dataclass(frozen=True)
class Claim:
    """What a proof over MQTT is made of: a decision about a digest, by whom, and when (`ts`, as it was sent)."""

    given: str
    decision: Decision
    digest: str
    who: str
    ts: str


def sign(key: str, claim: Claim) -> str:
    """HMAC-SHA256 in hex over six lines; `key` is the hash that APPROVERS has, taken as text."""
    lines = f"{_CONTEXT}\n{claim.given}\n{claim.decision}\n{claim.digest}\n{claim.who}\n{claim.ts}"
    return hmac.digest(key.encode(), lines.encode(), "sha256").hex()


def signed(approver: Approver, claim: Claim, mac: str) -> bool:
    """Whether `mac` is this approver's."""
    return hmac.compare_digest(sign(approver.key.reveal(), claim).encode(), mac.casefold().encode())


def new_code() -> str:
    """A one-time code, in a form that is read aloud easily: `K7QM-2WXP`."""
    letters = "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))
    return f"{letters[:4]}-{letters[4:]}"


def code_mac(key: bytes, given: str, approver: str, code: str) -> bytes:
    """What the store keeps of a code; case, blanks and dashes do not count."""
    bare = _CODE.sub("", code).upper()
    return hmac.digest(key, f"code {given} {approver.casefold()} {bare}".encode(), "sha256")


def same(one: bytes, other: bytes) -> bool:
    """In constant time."""
    return hmac.compare_digest(one, other)


def asked_himself(row: Approval, approver: Approver) -> bool:
    """Whether the approver is whoever asked: by name, or as the same Discord member."""
    names = {row.principal.casefold(), row.principal.rpartition(":")[2].casefold()}
    names |= {name.rpartition(" (")[0] for name in names}
    number = re.search(r"\((\d+)\)$", row.principal)
    return approver.name.casefold() in names or bool(
        row.channel == "discord" and number and approver.discord and int(number[1]) == approver.discord
    )
