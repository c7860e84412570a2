"""A live view of a terminal's size: sites, nodes, guests, the last changes and tasks, how to connect."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.layout import Layout
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from mqtt_bridge.model import Event, TaskInfo
from proxmox_mcp.view import Guest, Node, View

COLOURS = {
    "online": "green",
    "running": "green",
    "ok": "green",
    "info": "default",
    "degraded": "yellow",
    "paused": "yellow",
    "suspended": "yellow",
    "warning": "yellow",
    "offline": "red",
    "failed": "red",
    "error": "red",
    "critical": "bold red",
    "stopped": "bright_black",
    "unknown": "magenta",
}
HOT, WARM = 90, 75  # percent
HEAD = box.SIMPLE_HEAD
WIDTHS = {"id": 5, "state": 7}  # columns that are useless when they are cut
FRAME = 3  # lines of a table beside its rows: title, head, rule
NARROW = 110  # columns below which guests and changes do not fit beside each other


def coloured(word: str) -> Text:
    """A status in its colour."""
    return Text(word, COLOURS.get(word, "default"))


def share(value: float | None) -> Text:
    """A percentage, red when it is high; a dash where it is not known."""
    if value is None:
        return Text("–", "bright_black")
    return Text(f"{value:.0f} %", "red" if value >= HOT else "yellow" if value >= WARM else "default")


def size(value: float | None) -> str:
    """Bytes as people read them."""
    if value is None:
        return "–"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:  # noqa: PLR2004 -- a KiB
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def clock(stamp: str | None) -> str:
    """An ISO time as people here read it: the time of today, the day of what is older."""
    if not stamp:
        return ""
    local = datetime.fromisoformat(stamp).astimezone()
    today = local.date() == datetime.now().astimezone().date()
    return local.strftime("%H:%M:%S" if today else "%d %b   ")


def event_line(event: Event) -> Text:
    """One event on one line."""
    return Text.assemble((f"{clock(event.timestamp)} ", "bright_black"), (event.title, COLOURS[event.severity]))


def task_line(task: TaskInfo) -> Text:
    """One task on one line; its outcome first, because a long id may be cut off."""
    outcome = (f"{task.status:<7} ", COLOURS[task.status])
    about = f"{task.type} {task.id or ''} on {task.node}".replace("  ", " ")
    why = f": {task.exitstatus}" if task.status in ("failed", "warning") else ""
    return Text.assemble((f"{clock(task.started_at)} ", "bright_black"), outcome, about, why)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=HEAD, expand=True, show_edge=False)
    for column in columns:
        right = column.endswith("%")
        table.add_column(column, no_wrap=True, justify="right" if right else "left", min_width=WIDTHS.get(column))
    return table


class LiveView:
    """Renders a mirror at the moment it is drawn. `connect`: lines on how to reach what runs."""

    def __init__(self, view: View, connect: Sequence[str] = ()) -> None:
        self._view = view
        self._connect = connect

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or options.size.height
        sites = FRAME + len(self._view.sites()) + 1
        nodes = FRAME + sum(1 for _ in self._view.nodes()) + 1
        wide = max(20, options.max_width)
        below = sum(-(-len(line) // wide) for line in self._connect) + 1 if self._connect else 0
        middle = max(FRAME + 2, height - sites - nodes - below)
        layout = Layout()
        if height < sites + nodes + FRAME + 4 + below:  # a small terminal: guests matter more than nodes
            middle += nodes
            nodes = 0
        parts = [
            Layout(self._sites(), size=sites),
            *([Layout(self._nodes(), size=nodes)] if nodes else []),
            Layout(self._middle(options.max_width, middle), size=middle),
        ]
        if self._connect:
            lines = Text("\n".join(self._connect), overflow="fold")
            # no box around it: these lines are there to be copied
            parts.append(Layout(Group(Rule("connect", align="left", style="blue"), lines), size=below))
        layout.split_column(*parts)
        yield layout

    def _middle(self, width: int, height: int) -> Layout:
        layout = Layout()
        if width >= NARROW:
            news = Layout(self._news(height // 2 - 2), ratio=2)
            layout.split_row(Layout(self._guests(height - FRAME), ratio=3), news)
        else:
            half = height // 2
            layout.split_column(Layout(self._guests(half - FRAME), size=half), Layout(self._news(half // 2 - 2)))
        return layout

    def _sites(self) -> Table:
        table = _table("Sites", "site", "state", "quorum", "nodes", "guests running", "age")
        for site in self._view.sites():
            cluster, age = self._view.cluster(site), self._view.age(site)
            if cluster is None:
                continue
            quorum = {None: Text("–"), True: Text("yes", "green"), False: Text("LOST", "bold red")}[cluster.quorate]
            running = "–" if cluster.guests_total is None else f"{cluster.guests_running} of {cluster.guests_total}"
            state = self._state(site)
            nodes = f"{cluster.nodes_online} of {cluster.nodes_total}"
            table.add_row(site, state, quorum, nodes, running, "–" if age is None else f"{age:.0f} s")
        return table

    def _state(self, site: str) -> Text:
        """What the site's bridge says, as long as it can be believed."""
        if not self._view.mirror.connected:
            return Text("no broker", COLOURS["offline"])
        if self._view.source == "mqtt" and not self._view.bridge_online(site):
            return Text("bridge offline", COLOURS["offline"])
        return coloured(self._view.site_state(site) or "unknown")

    def _nodes(self) -> Table:
        table = _table("Nodes", "node", "state", "cpu %", "memory %", "root %", "load", "version")
        for node in self._view.nodes():
            table.add_row(*self._node(node))
        return table

    @staticmethod
    def _node(node: Node) -> tuple[str | Text, ...]:
        figures = node.metrics if node.state.available else None
        load = figures.load1 if figures else None
        return (
            node.state.node,
            coloured(node.state.status),
            share(figures.cpu_percent if figures else None),
            share(figures.mem_percent if figures else None),
            share(figures.disk_percent if figures else None),
            "–" if load is None else f"{load:.2f}",
            [*(node.state.version or "").split("/"), "", ""][1],
        )

    def _guests(self, limit: int) -> Table:
        guests = sorted(self._view.guests(), key=lambda g: (g.state.template, g.state.site, g.state.vmid))
        shown = guests if len(guests) <= limit else guests[: max(1, limit - 1)]
        table = _table(f"Guests ({len(guests)})", "id", "name", "type", "node", "state", "cpu %", "memory %")
        for guest in shown:
            table.add_row(*self._guest(guest))
        if len(shown) < len(guests):
            table.add_row("", Text(f"… and {len(guests) - len(shown)} more", "bright_black"))
        return table

    @staticmethod
    def _guest(guest: Guest) -> tuple[str | Text, ...]:
        state = guest.state
        figures = guest.metrics if state.status == "running" else None
        status = Text("template", "bright_black") if state.template else coloured(state.status)
        if state.lock:
            status.append(f" ({state.lock})", "yellow")
        return (
            str(state.vmid),
            state.name,
            "VM" if state.type == "qemu" else "CT",
            state.node,
            status,
            share(figures.cpu_percent if figures else None),
            share(figures.mem_percent if figures else None),
        )

    def _news(self, limit: int) -> Layout:
        layout = Layout()
        layout.split_column(
            Layout(_lines("Last changes", (event_line(e) for e in self._view.events()[:limit]))),
            Layout(_lines("Last tasks", (task_line(t) for t in self._view.tasks()[:limit]))),
        )
        return layout


def _lines(title: str, lines: Iterable[Text]) -> Group:
    shown = list(lines) or [Text("none yet", "bright_black")]
    for line in shown:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(Text(title, "bold italic"), *shown)
