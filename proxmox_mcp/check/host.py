"""What the steps of one host share."""

from dataclasses import dataclass, field

from mqtt_bridge.settings import Endpoint, Settings, SiteSettings
from proxmox_mcp.check.findings import Finding

PRODUCTS = {"pve": "Proxmox VE", "pbs": "Proxmox Backup Server"}
PORTS = {"pve": 8006, "pbs": 8007}


class FailedStepError(Exception):
    """A step failed, its finding is noted, and the following ones make no sense."""


@dataclass
class Host:
    """What is known of an endpoint while its steps run."""

    settings: Settings
    site: SiteSettings
    endpoint: Endpoint
    asked: set[tuple[str, str, str]] = field(default_factory=set)  # tokens whose rights in their site are being read
    findings: list[Finding] = field(default_factory=list)
    addresses: tuple[str, ...] = ()
    address: str = ""

    @property
    def subject(self) -> str:
        shown = self.endpoint.url.removeprefix("https://")
        return f"{self.site.slug}: {self.endpoint.name} ({shown})"

    @property
    def shares_keys(self) -> bool:
        """Whether several hosts are described by the same keys, as those of PVE_CLUSTERS are."""
        return sum(other.prefix == self.endpoint.prefix for other in self.site.endpoints) > 1

    @property
    def address_key(self) -> str:
        return self.key("HOSTS" if self.shares_keys else "HOST")

    def key(self, suffix: str) -> str:
        return f"{self.endpoint.prefix}{suffix}"

    def first_with_token(self) -> bool:
        """Whether this host is the first of its site to have accepted its token: rights are the same on all of them."""
        token = (self.site.slug, self.endpoint.user, self.endpoint.token_name)
        first = token not in self.asked
        self.asked.add(token)
        return first

    def note(self, what: str, ok: bool | None, detail: str, cure: str = "") -> None:
        self.findings.append(Finding(self.subject, what, ok, detail, cure))

    def fail(self, what: str, detail: str, cure: str) -> FailedStepError:
        self.note(what, False, detail, cure)
        return FailedStepError()
