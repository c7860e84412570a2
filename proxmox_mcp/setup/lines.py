"""The lines to run as root on a host of Proxmox, and those for `.env`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from shlex import quote

from mqtt_bridge.settings import Kind
from proxmox_mcp.setup.grants import Grant
from proxmox_mcp.tools.permissions import Need

ROOT = "root@pam"  # there from the start, with every privilege: only its token needs roles
VALUE = "<the value that was printed>"
_WHERE = {"pve": "Proxmox VE: as root on one node (of each cluster)", "pbs": "Proxmox Backup Server: as root on it"}


@dataclass(frozen=True)
class Setup:
    """One user and token, on one site or wherever it is run. `prefix`: of the settings' keys. `update`: both exist."""

    kind: Kind
    user: str
    token: str
    grants: tuple[Grant, ...]
    left_out: tuple[Need, ...] = ()
    site: str = ""
    prefix: str = ""
    update: bool = False

    @property
    def owners(self) -> tuple[str, ...]:
        """Those that get roles: a token has what it and its user have."""
        full = f"{self.user}!{self.token}"
        return (full,) if self.user == ROOT else (self.user, full)

    def commands(self) -> tuple[str, ...]:
        """To be run in this order."""
        return tuple(self._pve() if self.kind == "pve" else self._pbs())

    def env(self) -> tuple[tuple[str, str], ...]:
        """Keys and values."""
        prefix = self.prefix or ("PROXMOX_" if self.kind == "pve" else "PBS_MAIN_")
        host = [] if self.prefix else [(f"{prefix}HOST", "<its address>")]
        names = [("PBS_NODES", "main")] if self.kind == "pbs" and not self.prefix else []
        token = [(f"{prefix}USER", self.user), (f"{prefix}TOKEN_NAME", self.token), (f"{prefix}TOKEN_VALUE", VALUE)]
        return (*names, *host, *token)

    def text(self) -> str:
        """Lines with what they are for; those that begin with # need not be run."""
        return "\n".join(self._text())

    def as_json(self) -> dict[str, object]:
        """The same for machines."""
        return {
            "kind": self.kind,
            "site": self.site or None,
            "user": self.user,
            "token": self.token,
            "grants": [
                {
                    "path": grant.path,
                    "privileges": grant.privileges,
                    "roles": grant.roles,
                    "propagate": grant.propagate,
                    "besides": grant.extra,
                    "for": grant.users,
                }
                for grant in self.grants
            ],
            "left_out": [{"feature": n.user, "path": n.path, "privilege": n.privilege} for n in self.left_out],
            "commands": self.commands(),
            "env": dict(self.env()),
        }

    def _text(self) -> Iterator[str]:
        yield f"# {_WHERE[self.kind]}{f'; site {self.site}' if self.site else ''}"
        yield from self.commands()
        yield from (f"# {note}" for note in self._notes())
        if not self.update:
            yield "# Into .env here (the value was printed once, by the line with the token; nobody can show it again):"
            yield from (f"{key}={value}" for key, value in self.env())
        yield "# Then `proxmox-mcp check`."

    def _notes(self) -> Iterator[str]:
        if any(p.startswith("VM.GuestAgent.") for g in self.grants for p in g.privileges):
            yield "Proxmox VE 8 says VM.Monitor for VM.GuestAgent.*."
        for grant in self.grants:
            if self.kind == "pbs" and grant.extra:
                yield f"No role of Backup Server gives less on {grant.path}; besides: {', '.join(grant.extra)}."
        for need in self.left_out:
            yield f"Left out: {need.privilege} on {need.path}, for {need.user} (see --help)."

    def _pve(self) -> Iterator[str]:
        if not self.update:
            if self.user != ROOT:
                yield f"pveum user add {quote(self.user)} --comment proxmox-mcp"
            yield f"pveum user token add {quote(self.user)} {quote(self.token)} --privsep 1"
        for grant in self.grants:
            (role,) = grant.roles
            what = f"{quote(role)} --privs {quote(','.join(grant.privileges))}"
            again = f"pveum role modify {what} || " if self.update else ""
            yield f"{again}pveum role add {what}"
            who = " ".join(_owners(self.owners))
            yield (
                f"pveum acl modify {quote(grant.path)} --propagate {int(grant.propagate)} {who} --roles {quote(role)}"
            )

    def _pbs(self) -> Iterator[str]:
        if not self.update:
            if self.user != ROOT:
                yield f"proxmox-backup-manager user create {quote(self.user)} --comment proxmox-mcp"
            yield f"proxmox-backup-manager user generate-token {quote(self.user)} {quote(self.token)}"
        for grant in self.grants:
            for role in grant.roles:
                for owner in self.owners:
                    yield f"proxmox-backup-manager acl update {quote(grant.path)} {role} --auth-id {quote(owner)}"


def _owners(owners: Iterable[str]) -> Iterator[str]:
    for owner in owners:
        yield f"--{'tokens' if '!' in owner else 'users'} {quote(owner)}"
