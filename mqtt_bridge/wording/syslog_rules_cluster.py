# ruff: noqa: E501 -- one rule, one row
"""Cluster: corosync, pmxcfs, the HA managers and their watchdog.

Sources: corosync (totemsrp, totemknet, votequorum), pve-cluster (status.c, dfsm.c, dcdb.c, quorum.c, confdb.c),
pve-ha-manager (Manager.pm, NodeStatus.pm, Fence.pm, LRM.pm, CRM.pm, watchdog-mux.c).
"""

from mqtt_bridge.wording.syslog_row import NODE, VMID, Row, noise, row

_SID = rf"(?P<service>(?:vm|ct):{VMID})"
_FROM = r"state changed from '(?P<old>\w+)' (?:=>|to)"
_ON_NODE = rf"(?: {{1,4}}\(node = {NODE})?"

QUORUM: tuple[Row, ...] = (
    row("quorum.lost", "lost quorum", "", "The cluster has no quorum"),
    row("quorum.lost", "uorum ", r"[Qq]uorum (?:is |was |has been )?lost\b", "The cluster has no quorum"),
    row("quorum.lost", "non-primary component", "", "The cluster has no quorum"),
    row("quorum.lost", "Activity suspended", r"Activity suspended on this node|Quorum", "The cluster has no quorum"),
    row("quorum.ok", "node has quorum", "", "The cluster has quorum"),
    row("quorum.ok", "within the primary component", "", "The cluster has quorum"),
    row(
        "quorum.ok",
        "uorum ",
        r"[Qq]uorum (?:is |was |has been )?(?:re)?(?:acquired|gained|reached|stored|established)\b",
        "The cluster has quorum",
    ),
    row("quorum.ok", "now quorate", "", "The cluster has quorum"),
)
PMXCFS: tuple[Row, ...] = (
    *QUORUM,
    row("cluster.membership.changed", "members: ", r"members: (?P<members>[\d/, ]+)", "Members of the cluster: {members}"),
    row("cluster.membership.changed", "members[", "", "The members of the cluster changed"),
    *noise("RRD update error", "RRDC update error", "RRD create error", "received sync request", "cpg_send_message retr", "received all states", "all data is up to date"),
    row("cluster.filesystem.error", "crit: ", r"\[(?P<part>\w+)\] crit: (?P<error>[^\n]*)", "The cluster file system fails: {error}"),
    row("cluster.filesystem.error", "can't initialize service", "", "The cluster file system can't reach corosync"),
    row("cluster.filesystem.error", "unable to acquire pmxcfs lock", "", "The cluster file system did not start"),
    row("cluster.filesystem.error", "fuse_mount error", "", "The cluster file system can't be mounted"),
    row("cluster.filesystem.error", "error: ", r"^(?:\[\w+\] )?error: (?P<error>[^\n]*)", "The cluster file system fails: {error}"),
    row("cluster.filesystem.error", "malformed", "", "The cluster's database is damaged"),
)  # fmt: skip
FILESYSTEM: tuple[Row, ...] = (
    row("cluster.filesystem.error", "ipcc_send_rec", r"ipcc_send_rec\[?\d*\]? failed: (?P<error>[^\n]*)", "pmxcfs does not answer: {error}"),
    row("cluster.filesystem.error", "Unable to load access control list", r": (?P<error>[^\n]*)", "pmxcfs does not answer: {error}"),
    row("cluster.filesystem.error", "/etc/pve/", r"unable to (?:open|write|read|create|delete)[^\n]{0,20} '?/etc/pve/[^\n]*"
        r"(?P<error>Permission denied|Input/output error|Transport endpoint is not connected|Device or resource busy)",
        "The cluster file system can't be written: {error}"),
    row("cluster.filesystem.error", "lrm status file", r"unable to (?:write|update) lrm status file", "The cluster file system can't be written"),
    row("cluster.filesystem.error", "Transport endpoint is not connected", "", "The cluster file system is not mounted"),
    row("quorum.lost", "no quorum", r"cluster not ready - no quorum|(?:^|: )no quorum!", "The cluster has no quorum"),
)  # fmt: skip
COROSYNC: tuple[Row, ...] = (
    *QUORUM,
    row("corosync.link.down", "link: ", r"link: host: (?P<peer>\d+) link: (?P<link>\d+) is down", "Cluster link {link} to node {peer} is down"),
    row("corosync.link.up", "link: ", r"host: (?P<peer>\d+) link: (?P<link>\d+) is up", "Cluster link {link} to node {peer} is up"),
    row("corosync.link.down", "has no active links", r"host: (?P<peer>\d+) has no active links", "No cluster link to node {peer}"),
    row("corosync.link.down", "FAULTY", r"ringid (?P<link>\d+)", "Cluster ring {link} is faulty"),
    row("corosync.link.up", "Automatically recovered ring", r"ring (?P<link>\d+)", "Cluster ring {link} is back"),
    row("corosync.link.down", "interface is down", "", "corosync's network interface is down"),
    row("corosync.token.lost", "token timed out", "", "corosync lost its token"),
    row("corosync.token.lost", "oken has not been received", r"in (?P<milliseconds>\d+) ms", "corosync has had no token for {milliseconds} ms"),
    row("corosync.token.lost", "A processor failed", "", "corosync lost a node"),
    row("corosync.token.lost", "oken was lost", "", "corosync lost its token"),
    row("corosync.token.lost", "The token was", "", "corosync lost its token"),
    row("cluster.membership.changed", "embers", r"Members\[\d+\]:(?P<members>[ \d]*)", "Members of the cluster:{members}"),
    row("cluster.membership.changed", "Sync ", r"Sync (?:members|left|joined)\[", "The members of the cluster changed"),
    row("cluster.membership.changed", "new membership", r"[Aa] new membership \((?P<ring>[^)]{1,60})\)", "The members of the cluster changed"),
    row("cluster.membership.changed", "leave message", "", "A node left the cluster"),
    row("cluster.membership.changed", "was shut down by sysadmin", r"Node (?P<peer>\d+)", "Node {peer} left the cluster"),
    row("syslog.message", "Retransmit List", "", "corosync has to send again", "warning", ok=False),
    row("node.status.slow", "was not scheduled", r"for (?P<milliseconds>[\d.]+) ms", "corosync got no processor for {milliseconds} ms"),
    row("syslog.message", "sendmsg", r"failed", "corosync can't send", "warning", ok=False),
    row("syslog.message", "Failed to activate", "", "", "error", ok=False),
    row("service.error", "ailed to ", r"[Ff]ailed to (?:load|initiali[sz]e|start|parse|read|bind)[^\n]*", "corosync does not start"),
    row("service.error", "rror", r"(?:[Pp]arse error|configuration error|exiting at)[^\n]*", "corosync does not start"),
    *noise("[KNET", "[MAIN", "[SERV", "[CPG", "[TOTEM", "[QUORUM", "[WD", "[CFG", "[QB", "[CMAP", "[VOTEQ", "[MON", "[APP"),
    *noise("PMTUD", "best link", "Resetting MTU", "MTU changed", "ready to provide service", "downlist", "joined"),
)  # fmt: skip
HA: tuple[Row, ...] = (
    row("node.fencing", "state changed from", rf"node '{NODE}': {_FROM} 'fence'", "Node {node} is going to be fenced"),
    row("node.fenced", "state changed from 'fence'", rf"node '{NODE}': {_FROM} 'unknown'", "Node {node} was fenced"),
    row("node.status", "state changed from", rf"node '{NODE}': {_FROM} '(?P<state>unknown|gone)'",
        "Node {node} is {state} to the HA manager", "warning", ok=False),
    row("node.status", "state changed from", rf"node '{NODE}': {_FROM} '(?P<state>online)'", "Node {node} is online"),
    row("node.status", "state changed from", rf"node '{NODE}': {_FROM} '(?P<state>\w+)'",
        "Node {node} is in {state}", ok=None),
    row("node.fenced", "fencing: acknowledged", rf"for node '{NODE}'", "Node {node} was fenced"),
    row("node.fenced", "fencing of node", rf"fencing of node '{NODE}' succ", "Node {node} was fenced"),
    row("node.fencing", "encing node", rf"[Ff]encing node '{NODE}'", "Node {node} is being fenced"),
    row("node.fencing", "fence", rf"(?:fence job for|fencing of|fence devices for|fence commands for) node '{NODE}'", "Fencing of node {node} failed", ok=False),
    row("node.fencing", "[fence '", rf"\[fence '{NODE}'\]", "Node {node} is being fenced"),
    row("node.fencing", "need to be fenced", "", "This node is going to be fenced"),
    row("ha.service.recovered", "recover service", rf"recover service '{_SID}' from fenced node '(?P<from>[\w.-]+)' to node '{NODE}'",
        "Guest {guest} was recovered from {from} to {node}"),
    row("ha.service.recovered", "recover service", rf"recover service '{_SID}' to [^']{{0,60}}node '{NODE}'", "Guest {guest} was recovered on {node}"),
    row("ha.service.state", "recovery node found", rf"service '{_SID}'", "Guest {guest} can't be recovered: no node for it", "error", ok=False),
    row("ha.service.state", "state changed from", rf"service '{_SID}': {_FROM} '(?P<state>error)'{_ON_NODE}",
        "HA gave up on guest {guest}", "error", ok=False),
    row("ha.service.state", "state changed from", rf"service '{_SID}': {_FROM} '(?P<state>fence)'{_ON_NODE}",
        "HA state of guest {guest}: {state}", ok=False),
    row("ha.service.state", "state changed from", rf"service '{_SID}': {_FROM} '(?P<state>\w+)'{_ON_NODE}",
        "HA state of guest {guest}: {state}"),
    row("guest.start.failed", "unable to start service", rf"service '?{_SID}", "HA could not start guest {guest}"),
    row("guest.start.failed", "start failed", rf"service '?{_SID}'? - start failed", "HA could not start guest {guest}"),
    row("guest.start.failed", "restart policy: retry", rf"service '{_SID}'", "HA tries again to start guest {guest}"),
    row("guest.start.failed", "starting service", rf"starting service '?{_SID}'? on node [^\n]{{0,70}} failed", "HA could not start guest {guest}"),
    row("ha.service.stopping", "stopping service", rf"stopping service '?{_SID}", "HA stops guest {guest}"),
    row("guest.starting", "starting service", rf"starting service '?{_SID}", "HA starts guest {guest}"),
    row("ha.service.state", "service status", rf"service status '?{_SID}'? (?P<state>\w+)", "HA: guest {guest} is {state}"),
    row("ha.service.state", "migration failed", rf"service '?{_SID}", "HA could not migrate guest {guest}", "warning", ok=False),
    row("ha.service.state", "grate service", rf"service '?{_SID}'? to node '(?P<target>[\w.-]+)", "HA migrates guest {guest} to {target}"),
    row("ha.service.state", "relocate service", rf"service '?{_SID}'? to node '(?P<target>[\w.-]+)", "HA moves guest {guest} to {target}"),
    row("ha.service.state", "service ", rf"service '?{_SID}'?(?: -|:| is) (?:in (?:an )?error state|unhandled|resource is)", "HA: guest {guest} is in trouble", "error", ok=False),
    row("noise", "new service", rf"adding new service '{_SID}'"),
    row("noise", "stale service", rf"removing stale service '{_SID}'"),
    row("ha.lrm.state", "status change", r"status change (?P<old>\w+) => (?P<state>lost_\w+)", "HA on this node: {state}", "warning", ok=False),
    row("ha.lrm.state", "status change", r"status change (?P<old>\w+) => (?P<state>\w+)", "HA on this node: {state}"),
    row("node.shutdown", "got shutdown request", r"policy '(?P<policy>\w+)'", "The node shuts down (policy {policy})"),
    row("node.shutdown", "reboot LRM", "", "The node restarts"),
    row("node.shutdown", "shutdown LRM", "", "The node shuts down"),
    row("ha.lrm.state", "restart LRM", "", "HA on this node restarts"),
    row("watchdog.expired", "watchdog update failed", "", "The HA watchdog can't be fed"),
    row("node.status.slow", "loop take too long", r"\((?P<seconds>\d+) seconds\)", "A round of the HA manager took {seconds} s"),
    row("noise", "no service configured for"),
    row("noise", "watchdog"),
)  # fmt: skip
WATCHDOG: tuple[Row, ...] = (
    row("watchdog.expiring", "about to expire", "", "The HA watchdog is about to expire: the node will reset"),
    row("watchdog.expired", "watchdog expired", "", "The HA watchdog has expired: the node resets"),
    row("watchdog.expired", "disable watchdog updates", "", "The HA watchdog is fed no more: the node resets"),
    row("watchdog.expired", "with active connections", "", "The HA watchdog ended while it was used: the node resets"),
    *noise("atchdog"),
)
