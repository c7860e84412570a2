"""Guests as Terraform code: read from Proxmox now, with blocks that import them. Nothing is changed."""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from mqtt_bridge.errors import UnknownTargetError
from mqtt_bridge.proxmox import rows
from proxmox_mcp.tools import asking, words
from proxmox_mcp.tools.base import Arguments, Call, SiteArgument, Tool, Vmid, named_like
from proxmox_mcp.view import Answer

if TYPE_CHECKING:
    from mqtt_bridge.proxmox.client import ProxmoxClient

MOST = 100  # guests of one call
Row = Mapping[str, Any]


class TerraformRequest(Arguments):
    """Which guests: those named, or all that pass the filters."""

    vmids: tuple[Vmid, ...] | None = None
    node: str | None = None
    pool: str | None = None
    tag: str | None = None
    name: str | None = Field(default=None, description="glob")
    site: SiteArgument = None


class TerraformCode(Answer):
    """Code for the provider bpg/proxmox; names and notes in it come from the guests."""

    site: str
    total: int
    resources: tuple[str, ...] = ()
    hcl: str
    left_out: dict[str, tuple[str, ...]] = Field(
        default={}, description="settings by resource that the provider has no place for"
    )

    def text(self) -> str:
        return words.answer(f"{self.total} guests of {self.site} for bpg/proxmox.", self.hcl, self)


async def generate_terraform(call: Call, args: TerraformRequest) -> TerraformCode:
    """One list of the site's guests, then the configuration of each."""
    from proxmox_mcp.terraform import Source, generate  # noqa: PLC0415 -- not needed to list tools

    site, client, listed = await _listed(call, args)
    chosen = sorted((row for row in listed if _wanted(row, args)), key=lambda row: int(row["vmid"]))
    _check(args, chosen, listed)
    read = {
        int(row["vmid"]): functools.partial(client.get, "nodes", row["node"], row["type"], row["vmid"], "config")
        for row in chosen
    }
    heard = await asking.together({vmid: ask(deadline=30) for vmid, ask in read.items()})
    heard.require()
    made = generate(
        Source(
            int(row["vmid"]), str(row["type"]), str(row["node"]), heard.answers[int(row["vmid"])],
            running=row.get("status") == "running", pool=str(row.get("pool") or ""),
        )
        for row in chosen if int(row["vmid"]) in heard.answers
    )  # fmt: skip
    told = [
        "Read `terraform plan` after the import: it must show nothing that changes before anything is applied.",
        *heard.notes,
    ]
    return TerraformCode(
        **asking.now(call, *told, complete=not heard.errors),
        site=site,
        total=len(made.addresses),
        resources=made.addresses,
        hcl=made.hcl,
        left_out=made.left_out,
    )


async def _listed(call: Call, args: TerraformRequest) -> "tuple[str, ProxmoxClient, list[Row]]":
    from mqtt_bridge.proxmox.lookup import guest_rows  # noqa: PLC0415 -- not needed to list tools

    hosts = asking.hosts(call, args.site)
    if len(hosts) > 1:
        raise UnknownTargetError(
            "Terraform's provider is for one site at a time.",
            cure=f"Give `site`: {', '.join(hosts)}.",
            candidates=tuple(hosts),
        )
    ((site, client),) = hosts.items()
    return site, client, await guest_rows(client)


def _wanted(row: Row, args: TerraformRequest) -> bool:
    tags = {tag.casefold() for tag in rows.split_list(row.get("tags"))}
    return (
        (args.vmids is None or row["vmid"] in args.vmids)
        and args.node in {None, row.get("node")}
        and args.pool in {None, row.get("pool")}
        and (args.tag is None or args.tag.casefold() in tags)
        and named_like(args.name, str(row.get("name", "")))
    )


def _check(args: TerraformRequest, chosen: list[Row], listed: list[Row]) -> None:
    missing = sorted(set(args.vmids or ()) - {int(row["vmid"]) for row in chosen})
    if missing:
        raise UnknownTargetError(
            f"There is no guest {', '.join(map(str, missing[:10]))} that fits, or the token may not see it.",
            cure="get_vms and get_lxcs list the guests.",
        )
    if not chosen:
        raise UnknownTargetError(
            f"No guest fits; the token sees {len(listed)}.", cure="Leave a filter out, or check its spelling."
        )
    if len(chosen) > MOST:
        raise asking.AskedWrongError(
            f"{len(chosen)} guests fit; at most {MOST} are written at once.", cure="Filter by node, pool, tag or name."
        )


TOOLS = (
    Tool(
        "generate_terraform",
        "Terraform code of guests",
        "Terraform code (bpg/proxmox) of guests as they are, with import blocks, without secrets; chosen by vmids, "
        "node, pool, tag or name.",
        "iac",
        TerraformRequest,
        TerraformCode,
        generate_terraform,
    ),
)
