"""A container as `proxmox_virtual_environment_container` of bpg/proxmox."""

from mqtt_bridge.actions.property_string import HEAD
from proxmox_mcp.terraform.hcl import Block, Raw
from proxmox_mcp.terraform.source import (
    Attributes,
    Source,
    dns,
    fit,
    flag,
    gigabytes,
    halves,
    ip_config,
    number,
    plain,
    some,
    startup,
)

RESOURCE = "proxmox_virtual_environment_container"
SILENT = frozenset({"digest", "lock", "parent", "snaptime", "template"})
_MOUNT = (
    ("acl", "acl", flag), ("backup", "backup", flag), ("mount_options", "mountoptions", halves),
    ("quota", "quota", flag), ("read_only", "ro", flag), ("replicate", "replicate", flag), ("shared", "shared", flag),
)  # fmt: skip
_ROOT = tuple(row for row in _MOUNT if row[0] in {"acl", "mount_options", "quota", "replicate"})
_LINK = (
    ("bridge", "bridge", plain), ("firewall", "firewall", flag), ("mac_address", "hwaddr", plain),
    ("mtu", "mtu", number), ("name", "name", plain), ("rate_limit", "rate", number), ("vlan_id", "tag", number),
)  # fmt: skip
_FEATURES = (
    ("fuse", "fuse", flag),
    ("keyctl", "keyctl", flag),
    ("mount", "mount", halves),
    ("nesting", "nesting", flag),
)


def container(source: Source, label: str) -> Block:
    """The resource. Proxmox does not know which template it was made from, so that is not compared."""
    nets = [source.fields(key) for key in source.numbered("net")]
    system: Attributes = (("template_file_id", ""), ("type", source.text("ostype") or "unmanaged"))
    unknown = Raw("operating_system[0].template_file_id")
    return Block(
        "resource",
        _attributes(source),
        (
            *_console(source),
            *some("cpu", (("architecture", source.text("arch")), ("cores", source.number("cores")),
                          ("limit", source.number("cpulimit")), ("units", source.number("cpuunits")))),
            *some("memory", (("dedicated", source.number("memory")), ("swap", source.number("swap")))),
            Block("operating_system", system),
            *_root(source),
            *(_mount(source.fields(key)) for key in source.numbered("mp")),
            *some("features", fit(source.fields("features"), _FEATURES)),
            Block("initialization", (("hostname", source.text("hostname")),), (*dns(source), *map(ip_config, nets))),
            *(_link(fields) for fields in nets),
            *startup(source),
            Block("lifecycle", (("ignore_changes", [unknown]),)),
        ),
        (RESOURCE, label),
    )  # fmt: skip


def _attributes(source: Source) -> Attributes:
    return (
        ("description", source.text("description")),
        ("tags", sorted(source.words("tags") or ()) or None),
        ("node_name", source.node),
        ("vm_id", source.vmid),
        ("pool_id", source.pool or None),
        ("protection", source.flag("protection")),
        ("start_on_boot", bool(source.flag("onboot"))),
        ("started", source.running),
        ("template", True if source.flag("template") else None),
        ("unprivileged", bool(source.flag("unprivileged"))),
    )


def _console(source: Source) -> tuple[Block, ...]:
    return some(
        "console",
        (("enabled", source.flag("console")), ("tty_count", source.number("tty")), ("type", source.text("cmode"))),
    )


def _root(source: Source) -> tuple[Block, ...]:
    fields = source.fields("rootfs")
    storage = (fields.get(HEAD) or fields.get("volume") or "").partition(":")[0]
    size = gigabytes(fields.get("size"))
    return some("disk", (("datastore_id", storage or None), ("size", size), *fit(fields, _ROOT)))


def _mount(fields: dict[str, str]) -> Block:
    volume = fields.get(HEAD) or fields.get("volume") or ""
    return Block(
        "mount_point",
        (("volume", volume), ("path", fields.get("mp", "")), ("size", fields.get("size")), *fit(fields, _MOUNT)),
    )


def _link(fields: dict[str, str]) -> Block:
    up = None if flag(fields.get("link_down")) is not True else False
    return Block("network_interface", (("enabled", up), *fit(fields, _LINK)))
