"""One API host from the settings behind its prefix: what is written, what is inherited, what is missing."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.sources import Report, Sources
from mqtt_bridge.settings.table import HOST_ROWS, host_rows
from mqtt_bridge.settings.types import Endpoint, Kind

PORTS: dict[Kind, int] = {"pve": 8006, "pbs": 8007}
_INHERITED = ("USER", "TOKEN_NAME", "TOKEN_VALUE", "VERIFY_SSL", "CA_FILE")
_EXAMPLES = {row.key: row.example for row in HOST_ROWS}


@dataclass(frozen=True)
class Block:
    """What is written about a host: parsed values by suffix. A value that is wrong is None and already reported."""

    prefix: str
    values: dict[str, Any]
    inherits: bool = False

    def has(self, suffix: str) -> bool:
        """Whether it is written at all, rightly or not."""
        return suffix in self.values

    def key(self, suffix: str) -> str:
        return next(
            row.key for row, plain in zip(host_rows(self.prefix), HOST_ROWS, strict=True) if plain.key == suffix
        )

    def heir(self, child: "Block") -> "Block":
        """`child` with the credentials and the CA of this one where it has none: never the pin, a host's own."""
        inherited = {key: value for key, value in self.values.items() if key in _INHERITED}
        return replace(child, values=inherited | child.values, inherits=True)


def read(sources: Sources, prefixes: Iterable[str]) -> Block:
    """The block behind the first prefix; where a later prefix has a setting too, that one counts."""
    first, *others = prefixes
    values: dict[str, Any] = {}
    for prefix in (first, *others):
        for plain, row in zip(HOST_ROWS, host_rows(prefix), strict=True):
            if sources.has(row.key):
                values[plain.key] = sources.value(row)
    return Block(first, values)


def endpoint(
    block: Block, name: str, kind: Kind, report: Report, *, verify: bool, port: int | None = None
) -> Endpoint | None:
    """The host, or None with the reasons in the report. `verify` is for a host that does not say."""
    if not _complete(block, name, report):
        return None
    values = block.values
    host, own_port = values["HOST"]
    user, token_name = _identity(block, report)
    if not user or not token_name:
        return None
    pin: str | None = values.get("FINGERPRINT")
    said: bool | None = values.get("VERIFY_SSL")
    checked = bool(pin) or (verify if said is None else said)
    if not checked and said is False:
        report.warning(f"The certificate of {name} is not checked ({block.key('VERIFY_SSL')}=false): pin it instead.")
    ca_file: Path | None = values.get("CA_FILE")
    return Endpoint(
        name=name,
        host=host,
        port=own_port or port or PORTS[kind],
        kind=kind,
        user=user,
        token_name=token_name,
        token_value=Secret(values["TOKEN_VALUE"]),
        verify=checked,
        ca_file=ca_file,
        fingerprint=pin,
        tls_name=values.get("TLS_NAME"),
        prefix=block.prefix,
    )


def _complete(block: Block, name: str, report: Report) -> bool:
    needed = {"HOST": f"the address of {name}", "USER": "the user that owns the API token"}
    if not _names_token(block):
        needed["TOKEN_NAME"] = "the name of its API token"  # noqa: S105 - a description
    needed["TOKEN_VALUE"] = "the token's secret"  # noqa: S105 - a description
    missing = [suffix for suffix in needed if not block.has(suffix)]
    for suffix in missing:
        if suffix == "HOST" or not block.inherits:
            key = block.key(suffix)
            report.problem(key, f"is missing: write {needed[suffix]}, as in {key}={_EXAMPLES[suffix]}.")
    return not missing and all(block.values[suffix] is not None for suffix in needed)


def _names_token(block: Block) -> bool:
    return bool(block.values.get("USER") and block.values["USER"][1]) and not block.has("TOKEN_NAME")


def _identity(block: Block, report: Report) -> tuple[str, str | None]:
    """User and token name, from `USER` and `TOKEN_NAME`, each of which may be the whole id `user@realm!token`."""
    user, token_of_user = block.values["USER"]
    user_of_token, token = block.values.get("TOKEN_NAME") or (None, None)
    if token and token_of_user and token != token_of_user:
        report.problem(block.key("USER"), f"names another token than {block.key('TOKEN_NAME')}: correct one of them.")
        return user, None
    if user_of_token and user_of_token != user:
        report.problem(block.key("TOKEN_NAME"), f"names another user than {block.key('USER')}: correct one of them.")
        return user, None
    return user, token or token_of_user
