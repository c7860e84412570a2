"""A live view of a terminal's size: sites, nodes, guests, the last changes and tasks, how to connect."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.layout import Layout
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from mqtt_bridge.events.events_cli import plain
from mqtt_bridge.model import Event, TaskInfo
from proxmox_mcp.told import Happening, Told
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
FAINT = "bright_black"
HOT, WARM = 90, 75  # percent
HEAD = box.SIMPLE_HEAD
WIDTHS = {"id": 5, "state": 7}  # columns that are useless when they are cut
ROWS = 7  # below which a list is of no use
FRAME = 3  # lines of a table beside its rows: title, head, rule
SHORT = {"info": "info", "warning": "warn", "error": "ERR ", "critical": "CRIT"}
GUESTS = 66  # columns in which a list of guests is whole
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


def moment(stamp: str) -> str:
    """The same for a stream of lines: what is older has its day before the time."""
    try:
        local = datetime.fromisoformat(stamp).astimezone()
    except (ValueError, OverflowError):
        return plain(stamp)
    today = local.date() == datetime.now().astimezone().date()
    return local.strftime("%H:%M:%S" if today else "%d %b %H:%M:%S")


def place(event: Event) -> str:
    """The guest with its name, else the node, else the site."""
    if event.guest is None:
        return plain(event.node or event.site)
    return plain(f"{event.guest} {event.context.get('name') or ''}").strip()


def channels(happening: Happening) -> str:
    """Who told of it, the first one first; how often, where one told it again and again."""
    more = happening.reports - len(happening.sources)
    return plain(", ".join(happening.sources)) + (f", {happening.reports} times" if more > 0 else "")


def event_line(happening: Happening) -> Text:
    """One happening on one line: when, how bad, where, what, and who told of it."""
    event, colour = happening.event, COLOURS[happening.event.severity]
    return Text.assemble(
        (f"{moment(event.timestamp)}  ", FAINT),
        (f"{event.severity:<8}  ", colour),
        f"{place(event):<14}  ",
        (plain(event.title), colour),
        (f"  {channels(happening)}", FAINT),
    )


def repeated_line(happening: Happening) -> Text:
    """What others tell of it after it was shown."""
    event, also = happening.event, plain(", ".join(happening.late))
    told = f"also told by {also}: {plain(event.title)}"
    return Text(f"{moment(event.timestamp)}  {'':<8}  {place(event):<14}  {told}", FAINT)


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
    """Renders a mirror at the moment it is drawn. `connect`: lines on how to reach what runs.

    `told`: the events, if more than the last ones of each site were seen.
    """

    def __init__(self, view: View, connect: Sequence[str] = (), told: Told | None = None) -> None:
        self._view = view
        self._connect = connect
        self._told = told or Told()
        if told is None:
            self._told.add(reversed(view.events()))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or options.size.height
        sites = FRAME + len(self._view.sites()) + 1
        nodes = FRAME + sum(1 for _ in self._view.nodes()) + 1
        wide = max(20, options.max_width)
        connect = Text("\n".join(self._connect), overflow="fold")
        below = len(connect.wrap(console, wide)) + 1 if self._connect else 0  # they break between words
        middle = max(FRAME + 2, height - sites - nodes - below)
        layout = Layout()
        least = ROWS if options.max_width >= NARROW else 2 * ROWS
        if middle < least:  # a small terminal: guests and events matter more than nodes
            middle += nodes
            nodes = 0
        parts = [
            Layout(self._sites(), size=sites),
            *([Layout(self._nodes(), size=nodes)] if nodes else []),
            Layout(self._middle(options.max_width, middle), size=middle),
        ]
        if self._connect:
            # no box around it: these lines are there to be copied
            parts.append(Layout(Group(Rule("connect", align="left", style="blue"), connect), size=below))
        layout.split_column(*parts)
        yield layout

    def _middle(self, width: int, height: int) -> Layout:
        layout = Layout()
        if width >= NARROW:
            left = max(GUESTS, width // 2)
            news = Layout(Padding(self._news(width - left - 1, height), (0, 0, 0, 1)))
            layout.split_row(Layout(self._guests(height - FRAME), size=left), news)
        else:
            half = height // 2
            news = Layout(self._news(width, height - half))
            layout.split_column(Layout(self._guests(half - FRAME), size=half), news)
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

    def _news(self, width: int, height: int) -> Layout:
        """Events, and below them the last tasks if there is room for both."""
        tasks = height // 3
        if tasks < FRAME:
            return Layout(self._events(width, height))
        layout = Layout()
        layout.split_column(
            Layout(self._events(width, height - tasks)),
            Layout(_lines("Last tasks", (task_line(t) for t in self._view.tasks()[: tasks - 1])), size=tasks),
        )
        return layout

    def _events(self, width: int, height: int) -> Group:
        """As many as fit; how many more there were since we began to look."""
        told, room = self._told, max(1, height - 1)
        shown = told.latest(room if told.total <= room else room - 1)
        rows = [_event_row(happening, width) for happening in shown]
        if told.total > len(shown):
            rows.append(Text(f"… and {told.total - len(shown)} more", FAINT))
        return _lines(_heading(told), rows)


def _heading(told: Told) -> Text:
    """How many of what is bad, in its colour: it may have scrolled away."""
    title = Text("Events", "bold italic")
    for severity in ("critical", "error", "warning"):
        if count := told.by_severity[severity]:
            title.append(f"  {count} {severity}", COLOURS[severity])
    return title


def _event_row(happening: Happening, width: int) -> Text:
    """When, how bad, where, what; who told, where there is room."""
    event, colour = happening.event, COLOURS[happening.event.severity]
    told = f"  {happening.sources[0]}" + (f" +{len(happening.sources) - 1}" if len(happening.sources) > 1 else "")
    where = plain(str(event.guest or event.node or event.site))
    head = Text.assemble(
        (f"{clock(event.timestamp):<8} ", FAINT), (f"{SHORT[event.severity]} ", colour), (f"{where:<4.16} ", FAINT)
    )
    title = Text(plain(event.title), colour)
    title.truncate(max(8, width - head.cell_len - len(told)), overflow="ellipsis")
    return Text.assemble(head, title, (told, FAINT))


def _lines(title: str | Text, lines: Iterable[Text]) -> Group:
    shown = list(lines) or [Text("none yet", "bright_black")]
    for line in shown:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(Text(title, "bold italic") if isinstance(title, str) else title, *shown)
