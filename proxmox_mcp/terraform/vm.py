"""A VM as `proxmox_virtual_environment_vm` of bpg/proxmox, with the attribute names of its documentation."""

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
    public_keys,
    some,
    startup,
)

RESOURCE = "proxmox_virtual_environment_vm"
# what the provider has not, or must not be told: set by root alone, made anew by Proxmox, or of no meaning elsewhere
SILENT = frozenset({"digest", "meta", "vmgenid", "smbios1", "lock", "parent", "snaptime", "cipassword", "template",
                    "bootdisk", "runningmachine", "runningcpu"})  # fmt: skip
MODELS = ("virtio", "e1000", "e1000e", "rtl8139", "vmxnet3")
_DISK = (
    ("aio", "aio", plain), ("backup", "backup", flag), ("cache", "cache", plain), ("discard", "discard", plain),
    ("iothread", "iothread", flag), ("replicate", "replicate", flag), ("serial", "serial", plain), ("ssd", "ssd", flag),
)  # fmt: skip
_SPEED = (
    ("iops_read", "iops_rd", number), ("iops_read_burstable", "iops_rd_max", number),
    ("iops_write", "iops_wr", number), ("iops_write_burstable", "iops_wr_max", number),
    ("read", "mbps_rd", number), ("read_burstable", "mbps_rd_max", number),
    ("write", "mbps_wr", number), ("write_burstable", "mbps_wr_max", number),
)  # fmt: skip
_CARD = (
    ("bridge", "bridge", plain), ("disconnected", "link_down", flag), ("firewall", "firewall", flag),
    ("mtu", "mtu", number), ("queues", "queues", number), ("rate_limit", "rate", number), ("trunks", "trunks", plain),
    ("vlan_id", "tag", number),
)  # fmt: skip


def vm(source: Source, label: str) -> Block:
    """The resource."""
    drives = [(key, source.fields(key)) for key in source.numbered("scsi", "virtio", "sata", "ide")]
    cloud = next((key for key, fields in drives if _is_cloudinit(fields)), None)
    disks = [(key, fields) for key, fields in drives if fields.get("media") != "cdrom" and _volume(fields)]
    cds = [(key, fields) for key, fields in drives if fields.get("media") == "cdrom" and key != cloud]
    return Block(
        "resource",
        _attributes(source),
        (
            *_agent(source),
            *_cpu(source),
            *some("memory", (("dedicated", source.number("memory")), ("floating", source.number("balloon")))),
            *some("operating_system", (("type", source.text("ostype")),)),
            *(_disk(key, fields) for key, fields in disks),
            *_special(source),
            *(Block("cdrom", (("file_id", _volume(fields) or "none"), ("interface", key))) for key, fields in cds[:1]),
            *_cloudinit(source, cloud),
            *(_card(source, key) for key in source.numbered("net")),
            *(Block("serial_device", (("device", source.text(key)),)) for key in source.numbered("serial")),
            *_vga(source),
            *startup(source),
            *_lifecycle(source, cloud),
        ),
        (RESOURCE, label),
    )


def _attributes(source: Source) -> Attributes:
    boot = source.fields("boot")
    machine = source.fields("machine")
    return (
        ("name", source.text("name")),
        ("description", source.text("description")),
        ("tags", sorted(source.words("tags") or ()) or None),
        ("node_name", source.node),
        ("vm_id", source.vmid),
        ("pool_id", source.pool or None),
        ("acpi", source.flag("acpi")),
        ("bios", source.text("bios")),
        ("boot_order", halves(boot.get("order"))),
        ("keyboard_layout", source.text("keyboard")),
        ("machine", machine.get(HEAD) or machine.get("type")),
        ("on_boot", bool(source.flag("onboot"))),
        ("protection", source.flag("protection")),
        ("scsi_hardware", source.text("scsihw")),
        ("started", source.running),
        ("tablet_device", source.flag("tablet")),
        ("template", True if source.flag("template") else None),
    )


def _agent(source: Source) -> tuple[Block, ...]:
    fields = source.fields("agent")
    if not fields:
        return ()
    enabled = flag(fields.get(HEAD) or fields.get("enabled"))
    rows = (("trim", "fstrim_cloned_disks", flag), ("type", "type", plain))
    return (Block("agent", (("enabled", enabled), *fit(fields, rows))),)


def _cpu(source: Source) -> tuple[Block, ...]:
    fields = source.fields("cpu")
    return some(
        "cpu",
        (
            ("affinity", source.text("affinity")),
            ("architecture", source.text("arch")),
            ("cores", source.number("cores")),
            ("flags", halves(fields.get("flags"))),
            ("hotplugged", source.number("vcpus")),
            ("limit", source.number("cpulimit")),
            ("numa", source.flag("numa")),
            ("sockets", source.number("sockets")),
            ("type", fields.get(HEAD) or fields.get("cputype")),
            ("units", source.number("cpuunits")),
        ),
    )


def _volume(fields: dict[str, str]) -> str:
    found = fields.get(HEAD) or fields.get("file") or ""
    return "" if found == "none" else found


def _is_cloudinit(fields: dict[str, str]) -> bool:
    return "cloudinit" in _volume(fields) and fields.get("media") == "cdrom"


def _storage(fields: dict[str, str]) -> str:
    volume = _volume(fields)
    return "" if volume.startswith("/") else volume.partition(":")[0]


def _format(fields: dict[str, str]) -> str:
    """As the file's name says; what is no file is raw."""
    ending = _volume(fields).rpartition(".")[2]
    return fields.get("format") or (ending if ending in {"qcow2", "vmdk"} else "raw")


def _disk(key: str, fields: dict[str, str]) -> Block:
    volume = _volume(fields)
    return Block(
        "disk",
        (
            ("interface", key),
            ("datastore_id", _storage(fields)),
            ("path_in_datastore", volume if volume.startswith("/") else None),
            ("size", gigabytes(fields.get("size"))),
            ("file_format", _format(fields)),
            *fit(fields, _DISK),
        ),
        some("speed", fit(fields, _SPEED)),
    )


def _special(source: Source) -> tuple[Block, ...]:
    """Where UEFI and the TPM keep their state."""
    efi, tpm = source.fields("efidisk0"), source.fields("tpmstate0")
    rows = (("type", "efitype", plain), ("pre_enrolled_keys", "pre-enrolled-keys", flag))
    found: list[Block] = []
    if efi:
        at: Attributes = (("datastore_id", _storage(efi)), ("file_format", _format(efi)))
        found.append(Block("efi_disk", (*at, *fit(efi, rows))))
    if tpm:
        found.append(Block("tpm_state", (("datastore_id", _storage(tpm)), *fit(tpm, (("version", "version", plain),)))))
    return tuple(found)


def _cloudinit(source: Source, key: str | None) -> tuple[Block, ...]:
    user: Attributes = (("keys", public_keys(source)), ("username", source.text("ciuser")))
    blocks = (
        *dns(source),
        *(ip_config(source.fields(each)) for each in source.numbered("ipconfig")),
        *some("user_account", user),
    )
    if key is None:
        return some("initialization", (), *blocks)
    return (Block("initialization", (("datastore_id", _storage(source.fields(key))), ("interface", key)), blocks),)


def _card(source: Source, key: str) -> Block:
    fields = source.fields(key)
    model = next((name for name in MODELS if name in fields), fields.get("model") or fields.get(HEAD) or None)
    mac = fields.get(model or "") if model in fields else fields.get("macaddr")
    return Block("network_device", (("mac_address", mac), ("model", model), *fit(fields, _CARD)))


def _vga(source: Source) -> tuple[Block, ...]:
    fields = source.fields("vga")
    kind = fields.get(HEAD) or fields.get("type")
    rows = (("clipboard", "clipboard", plain), ("memory", "memory", number))
    return some("vga", (("type", kind), *fit(fields, rows))) if fields else ()


def _lifecycle(source: Source, cloud: str | None) -> tuple[Block, ...]:
    """A password is never written here, and what is not written must not be taken for a wish to delete it."""
    if "cipassword" not in source.config or cloud is None:
        return ()
    return (Block("lifecycle", (("ignore_changes", [Raw("initialization[0].user_account[0].password")]),)),)
