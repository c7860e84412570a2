"""What one request over HTTP came to."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """`headers` by lower-case name. `whole` is false where the body was cut, by our limits or on the way."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool


@dataclass(frozen=True, slots=True)
class NoReply:
    """Nothing came back. `why` completes `Discord …`; nothing of it is from outside. `final`: trying again is vain."""

    why: str
    certificate: bool = False
    final: bool = False
