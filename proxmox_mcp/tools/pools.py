"""Resource pools and what is in them."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from proxmox_mcp.tools import asking, words
from proxmox_mcp.tools.base import Call, Page, Paged, Tool, named_like, paged

if TYPE_CHECKING:
    from mqtt_bridge.proxmox.client import ProxmoxClient

DETAILED = 20  # pools whose storages are asked for, one call each
VMIDS = 100  # of a pool that are listed; get_vms and get_lxcs page through the others


class PoolFilter(Paged):
    """Which pools."""

    site: str | None = Field(default=None, description="only this site")
    name: str | None = Field(default=None, description="pool as a glob")
    include_details: bool = Field(default=False, description="also their storages (a call per pool)")


class PoolRow(asking.Part):
    """A pool, with its first guests that the token may see. `storages` null: not asked for."""

    site: str
    pool: str
    comment: str
    guests: int
    running: int
    vmids: tuple[int, ...]
    storages: tuple[str, ...] | None = None


class PoolList(Page):
    """A page of pools."""

    pools: tuple[PoolRow, ...] = ()

    def text(self) -> str:
        rows = (
            (p.pool, p.site, f"{p.guests} ({p.running} running)", _listed(p),
             None if p.storages is None else " ".join(p.storages), p.comment)
            for p in self.pools
        )  # fmt: skip
        body = words.table(("pool", "site", "guests", "vmids", "storages", "comment"), rows) if self.pools else ""
        return words.answer(f"{self.total} pools", body, self, more=self.next_cursor)


def _listed(pool: PoolRow) -> str:
    more = pool.guests - len(pool.vmids)
    return " ".join(map(str, pool.vmids)) + (f" and {more} more" if more else "")


async def get_pools(call: Call, args: PoolFilter) -> PoolList:
    """Pools with their guests; two calls per site."""
    clients = asking.hosts(call, args.site)
    heard = await asking.together({site: _site(site, client) for site, client in clients.items()})
    heard.require()
    found = [pool for pools in heard.answers.values() for pool in pools if named_like(args.name, pool.pool)]
    shown, cursor = paged(found, lambda p: f"{p.site}/{p.pool}", args)
    blind = [clients[site] for site, pools in heard.answers.items() if not pools]
    notes = [*heard.notes, *await asking.unseen_at(blind, ("/pool", "Pool.Audit"))]
    if args.include_details:
        shown, more = await _detailed(call, list(shown))
        notes += more
    return PoolList(
        **asking.now(call, *notes, complete=not notes), total=len(found), next_cursor=cursor, pools=tuple(shown)
    )


async def _site(site: str, client: "ProxmoxClient") -> list[PoolRow]:
    pools = await client.get("pools", deadline=asking.DEADLINE)
    guests = await client.get("cluster", "resources", type="vm", deadline=asking.DEADLINE) if pools else []
    return sorted((_row(site, pool, guests) for pool in pools), key=lambda p: p.pool)


def _row(site: str, pool: dict[str, Any], guests: list[dict[str, Any]]) -> PoolRow:
    mine = [g for g in guests if g.get("pool") == pool["poolid"] and g.get("vmid")]
    return PoolRow(
        site=site,
        pool=pool["poolid"],
        comment=asking.clean(pool.get("comment")),
        guests=len(mine),
        running=sum(g.get("status") == "running" for g in mine),
        vmids=tuple(sorted(int(g["vmid"]) for g in mine))[:VMIDS],
    )


async def _detailed(call: Call, pools: list[PoolRow]) -> tuple[list[PoolRow], list[str]]:
    heard = await asking.together(
        {
            (p.site, p.pool): call.client(p.site).get("pools", poolid=p.pool, type="storage", deadline=asking.DEADLINE)
            for p in pools[:DETAILED]
        }
    )
    notes = heard.notes
    if len(pools) > DETAILED:
        notes.append(f"Storages are shown for the first {DETAILED} pools: filter by `name` for others.")
    return [p.model_copy(update={"storages": _storages(heard.answers.get((p.site, p.pool)))}) for p in pools], notes


def _storages(answer: Any) -> tuple[str, ...] | None:
    if not answer:
        return None
    rows = answer[0].get("members") or ()
    return tuple(sorted({str(row["storage"]) for row in rows if row.get("type") == "storage" and row.get("storage")}))


TOOLS = (
    Tool(
        "get_pools",
        "Pools",
        "Resource pools with comment and guests.",
        "history",
        PoolFilter,
        PoolList,
        get_pools,
    ),
)
