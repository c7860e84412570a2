"""Terraform code of guests: read by a parser, laid out as `terraform fmt` does, without secrets, always the same."""

import base64
import json
import random
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import hcl2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client

from proxmox_mcp.lab import Lab
from proxmox_mcp.terraform import Source, generate
from proxmox_mcp.terraform.hcl import Block, quoted
from tests.mcp.kept_bench import ALLOWED, connected
from tests.support.asking import ask, refused
from tests.support.lab_client import QUICK

TERRAFORM = shutil.which("terraform")
with_terraform = pytest.mark.skipif(TERRAFORM is None, reason="terraform is not installed")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExampleExampleExample ann@desk"
VM: dict[str, Any] = {
    "name": "web-01", "description": 'say "hi" ${x} %{if}\nsecond line, password=hunter22', "tags": "web;prod",
    "cores": 4, "sockets": 2, "cpu": "cputype=host,flags=+aes;-pcid", "cpulimit": "1.5", "memory": "4096",
    "balloon": 2048, "agent": "1,fstrim_cloned_disks=1", "bios": "ovmf", "machine": "q35", "boot": "order=scsi0;net0",
    "scsi0": "local-lvm:vm-100-disk-0,discard=on,iothread=1,mbps_rd=100,size=32G,ssd=1",
    "virtio1": "nas:100/vm-100-disk-1.qcow2,backup=0,size=10241M", "ide2": "local-lvm:vm-100-cloudinit,media=cdrom",
    "sata0": "nas:iso/debian.iso,media=cdrom,size=700M", "efidisk0": "local-lvm:vm-100-disk-2,efitype=4m,size=4M",
    "tpmstate0": "local-lvm:vm-100-disk-3,size=4M,version=v2.0", "ciuser": "ann", "cipassword": "**secret**",
    "sshkeys": f"{KEY}\n-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n".replace("\n", "%0A").replace(" ", "%20"),
    "ipconfig0": "ip=192.0.2.4/24,gw=192.0.2.1,ip6=auto", "nameserver": "192.0.2.1 192.0.2.2", "onboot": 1,
    "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1,tag=30,trunks=10;20", "serial0": "socket",
    "net1": "e1000=BC:24:11:00:00:02,bridge=vmbr1,link_down=1", "vga": "qxl,memory=32", "startup": "order=2,up=30",
    "scsihw": "virtio-scsi-single", "ostype": "l26", "args": "-secret thing", "hostpci0": "0000:01:00", "digest": "a",
    "vmgenid": "x", "smbios1": "uuid=x",
}  # fmt: skip
CT: dict[str, Any] = {
    "hostname": "db", "arch": "amd64", "cores": 2, "memory": 1024, "swap": 0, "ostype": "debian", "unprivileged": 1,
    "rootfs": "local-lvm:vm-101-disk-0,size=8G", "mp0": "ceph-vm:vm-101-disk-1,mp=/data,backup=1,size=16G",
    "mp1": "/srv/share,mp=/share,ro=1", "features": "nesting=1,mount=nfs;cifs", "net0":
    "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:03,ip=dhcp,ip6=2001:db8::5/64,gw6=2001:db8::1,type=veth",
    "onboot": 0, "dev0": "/dev/dri/card0",
}  # fmt: skip
SOURCES = (Source(101, "lxc", "pve2", CT, running=False), Source(100, "qemu", "pve1", VM, running=True, pool="prod"))


def parsed(text: str) -> dict[str, Any]:
    """As plain values; blocks that may be repeated are lists."""
    found: dict[str, Any] = hcl2.loads(text)
    plain: dict[str, Any] = _bare(found)
    return plain


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {_bare(key): _bare(item) for key, item in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [_bare(item) for item in value]
    return value[1:-1] if isinstance(value, str) and value.startswith('"') else value


def resource(text: str, kind: str, label: str) -> dict[str, Any]:
    found = [each[kind][label] for each in parsed(text)["resource"] if label in each.get(kind, {})]
    assert len(found) == 1
    one: dict[str, Any] = found[0]
    return one


def test_a_vm_with_everything() -> None:
    one = resource(generate(SOURCES).hcl, "proxmox_virtual_environment_vm", "web_01_100")
    said = {key: value for key, value in one.items() if not isinstance(value, list) or key in {"tags", "boot_order"}}
    assert said == {
        "name": "web-01", "description": 'say \\"hi\\" $${x} %%{if}\\nsecond line, password=********',
        "tags": ["prod", "web"], "node_name": "pve1", "vm_id": 100, "pool_id": "prod", "bios": "ovmf",
        "boot_order": ["scsi0", "net0"], "machine": "q35", "on_boot": True, "scsi_hardware": "virtio-scsi-single",
        "started": True,
    }  # fmt: skip
    assert one["cpu"] == [{"cores": 4, "flags": ["+aes", "-pcid"], "limit": 1.5, "sockets": 2, "type": "host"}]
    assert one["memory"] == [{"dedicated": 4096, "floating": 2048}]
    assert one["agent"] == [{"enabled": True, "trim": True}]
    assert one["disk"] == [
        {"interface": "scsi0", "datastore_id": "local-lvm", "size": 32, "file_format": "raw", "discard": "on",
         "iothread": True, "ssd": True, "speed": [{"read": 100}]},
        {"interface": "virtio1", "datastore_id": "nas", "size": 11, "file_format": "qcow2", "backup": False},
    ]  # fmt: skip
    assert one["cdrom"] == [{"file_id": "nas:iso/debian.iso", "interface": "sata0"}]
    assert one["efi_disk"] == [{"datastore_id": "local-lvm", "file_format": "raw", "type": "4m"}]
    assert one["tpm_state"] == [{"datastore_id": "local-lvm", "version": "v2.0"}]
    assert one["network_device"] == [
        {"mac_address": "BC:24:11:00:00:01", "model": "virtio", "bridge": "vmbr0", "firewall": True,
         "trunks": "10;20", "vlan_id": 30},
        {"mac_address": "BC:24:11:00:00:02", "model": "e1000", "bridge": "vmbr1", "disconnected": True},
    ]  # fmt: skip
    assert one["startup"] == [{"order": 2, "up_delay": 30}]
    assert one["vga"] == [{"type": "qxl", "memory": 32}]
    assert one["initialization"] == [
        {"datastore_id": "local-lvm", "interface": "ide2", "dns": [{"servers": ["192.0.2.1", "192.0.2.2"]}],
         "ip_config": [{"ipv4": [{"address": "192.0.2.4/24", "gateway": "192.0.2.1"}], "ipv6": [{"address": "auto"}]}],
         "user_account": [{"keys": [KEY], "username": "ann"}]}
    ]  # fmt: skip


def test_a_container_with_everything() -> None:
    one = resource(generate(SOURCES).hcl, "proxmox_virtual_environment_container", "db_101")
    assert (one["vm_id"], one["started"], one["unprivileged"], one["start_on_boot"]) == (101, False, True, False)
    assert one["disk"] == [{"datastore_id": "local-lvm", "size": 8}]
    assert one["mount_point"] == [
        {"volume": "ceph-vm:vm-101-disk-1", "path": "/data", "size": "16G", "backup": True},
        {"volume": "/srv/share", "path": "/share", "read_only": True},
    ]
    assert one["features"] == [{"mount": ["nfs", "cifs"], "nesting": True}]
    assert one["initialization"] == [
        {"hostname": "db", "ip_config": [{"ipv4": [{"address": "dhcp"}],
                                          "ipv6": [{"address": "2001:db8::5/64", "gateway": "2001:db8::1"}]}]}
    ]  # fmt: skip
    assert one["network_interface"] == [{"bridge": "vmbr0", "mac_address": "BC:24:11:00:00:03", "name": "eth0"}]
    assert one["operating_system"] == [{"template_file_id": "", "type": "debian"}]


def test_each_is_imported_by_node_and_number() -> None:
    made = generate(SOURCES)
    assert parsed(made.hcl)["import"] == [
        {"to": "${proxmox_virtual_environment_vm.web_01_100}", "id": "pve1/100"},
        {"to": "${proxmox_virtual_environment_container.db_101}", "id": "pve2/101"},
    ]
    assert made.addresses == (
        "proxmox_virtual_environment_vm.web_01_100", "proxmox_virtual_environment_container.db_101",
    )  # fmt: skip


def test_no_secret_is_in_it_and_what_is_left_out_is_said_by_name() -> None:
    made = generate(SOURCES)
    for secret in ("hunter22", "**secret**", "-secret thing", "PRIVATE KEY", "c2VjcmV0"):
        assert secret not in made.hcl
    assert made.left_out == {made.addresses[0]: ("args", "hostpci0"), made.addresses[1]: ("dev0",)}
    assert "user_account[0].password" in made.hcl


def test_it_is_the_same_each_time_in_whatever_order() -> None:
    shuffled = [Source(s.vmid, s.type, s.node, dict(sorted(s.config.items())), s.running, s.pool) for s in SOURCES]
    assert generate(reversed(shuffled)).hcl == generate(SOURCES).hcl


def test_guests_of_one_name_and_of_none_have_labels_of_their_own() -> None:
    names = ("web", "WEB", "9lives", "", "ü/${x}", 'a" {}')
    made = generate(Source(200 + n, "qemu", "pve1", {"name": name}) for n, name in enumerate(names))
    labels = [address.rpartition(".")[2] for address in made.addresses]
    assert labels == ["web_200", "web_201", "vm_9lives_202", "vm_203", "x_204", "a_205"]
    assert len(parsed(made.hcl)["resource"]) == len(names)


@given(st.text(max_size=60))
def test_no_text_leaves_its_quotes(text: str) -> None:
    written = str(Block("b", (("a", text), ("z", "end")), (), ("l",)))
    (block,) = hcl2.loads(written + "\n")["b"]
    (body,) = block.values()
    assert set(body) - {"__is_block__"} == {"a", "z"}
    assert body["z"] == '"end"'
    assert "\n" not in quoted(text)


@given(st.text(alphabet='$%{}"\\ \n~!', max_size=40))
def test_nothing_in_a_text_is_evaluated(text: str) -> None:
    inside = quoted(text)[1:-1].replace("$${", "").replace("%%{", "")
    assert "${" not in inside
    assert "%{" not in inside


@with_terraform
def test_terraform_reads_texts_as_they_were(tmp_path: Path) -> None:
    dice = random.Random(1)  # noqa: S311 -- texts, no keys
    texts = ["".join(dice.choices('$%{}"\\\n\t ab\u202eé', k=dice.randrange(12))) for _ in range(300)]
    code = f"base64encode(jsonencode([{', '.join(map(quoted, texts))}]))"
    run = subprocess.run(
        [str(TERRAFORM), "console"], input=code, capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60
    )
    assert json.loads(base64.b64decode(json.loads(run.stdout))) == texts


@with_terraform
def test_it_is_laid_out_as_terraform_does(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text(generate(SOURCES).hcl, encoding="utf-8")
    command = [str(TERRAFORM), "fmt", "-check", "-diff"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60)
    assert (run.returncode, run.stdout) == (0, "")


def test_equals_signs_stand_in_one_column() -> None:
    lines = str(Block("b", (("a", 1), ("long_name", "x"), ("c", None)), (Block("d"),))).splitlines()
    assert lines == ["b {", "  a         = 1", '  long_name = "x"', "", "  d {}", "}"]


# --- the tool --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(QUICK) as running:
        yield running
        assert running.violations == []


@pytest.fixture
async def client(lab: Lab, tmp_path: Path) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        yield await connected(stack, lab, tmp_path, ALLOWED)


async def test_all_guests_of_a_site(client: Client, lab: Lab) -> None:
    made = await ask(client, "generate_terraform")
    guests = lab.world.sorted_guests()
    assert (made["total"], len(made["resources"]), made["complete"]) == (len(guests), len(guests), True)
    assert len(parsed(made["hcl"])["import"]) == len(guests)
    assert '\n  id = "pve1/100"\n}' in made["hcl"]
    assert lab.requests.count("POST") == 0


@pytest.mark.parametrize(
    ("arguments", "fits"),
    [
        ({"vmids": ["100", 117]}, lambda g: g.vmid in {100, 117}),
        ({"node": "pve2"}, lambda g: g.node == "pve2"),
        ({"pool": "prod", "tag": "WEB"}, lambda g: g.pool == "prod" and "web" in g.tags.split(";")),
        ({"name": "web*"}, lambda g: g.name.startswith("web")),
    ],
)
async def test_chosen_guests(client: Client, lab: Lab, arguments: dict[str, Any], fits: Any) -> None:
    made = await ask(client, "generate_terraform", **arguments)
    wanted = {f"{g.node}/{g.vmid}" for g in lab.world.sorted_guests() if fits(g)}
    assert wanted
    assert {each["id"] for each in parsed(made["hcl"])["import"]} == wanted


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"vmids": [4711]}, "no guest 4711"),
        ({"vmids": [100], "node": "pve2"}, "no guest 100 that fits"),
        ({"pool": "nope"}, "No guest fits"),
        ({"site": "nope"}, "nope"),
    ],
)
async def test_what_is_not_there(client: Client, arguments: dict[str, Any], says: str) -> None:
    assert says in await refused(client, "generate_terraform", **arguments)
