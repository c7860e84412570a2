import pytest

from mqtt_bridge.proxmox.upid import Upid


def test_pve() -> None:
    upid = Upid.parse("UPID:pve1:0000C3A1:0012D687F:68D88F00:qmstart:100:root@pam!full:")
    assert (upid.kind, upid.node, upid.pid, upid.pstart) == ("pve", "pve1", 0xC3A1, 0x12D687F)
    assert (upid.starttime, upid.type, upid.id, upid.user) == (0x68D88F00, "qmstart", "100", "root@pam!full")
    assert upid.task_id is None
    assert upid.guest == 100


def test_pbs_unescapes_its_id() -> None:
    text = r"UPID:pbs:0000031B:000004F6:00000A13:68D88F00:verificationjob:nas\x2dbackups\x3anightly:root@pam:"
    upid = Upid.parse(text)
    assert (upid.kind, upid.task_id, upid.id, upid.text) == ("pbs", 0xA13, "nas-backups:nightly", text)
    assert upid.guest is None


@pytest.mark.parametrize(
    ("id_", "guest"),
    [
        (r"store\x3avm-100", 100),
        (r"store\x3act-201-68D88F00", 201),
        (r"store\x3avm\x2d100", None),
        ("main", None),
    ],
)
def test_guest_of_a_pbs_task(id_: str, guest: int | None) -> None:
    assert Upid.parse(f"UPID:pbs:0000031B:000004F6:00000A13:68D88F00:backup:{id_}:root@pam:").guest == guest


@pytest.mark.parametrize(
    ("kind", "id_", "guest"),
    [
        ("qmshutdown", "112", 112),
        ("vzdump", "", None),
        ("vzdump", "2675", 2675),
        ("vncproxy", "103", 103),
        ("hamigrate", "125", 125),
        ("resize", "100", 100),
        ("srvrestart", "pveproxy", None),
        ("zfscreate", "100", None),
        ("aptupdate", "", None),
        ("qmstart", "99", None),
    ],
)
def test_guest_of_a_pve_task(kind: str, id_: str, guest: int | None) -> None:
    assert Upid.parse(f"UPID:pve1:0000C3A1:0012D687:68D88F00:{kind}:{id_}:root@pam:").guest == guest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "UPID:",
        "UPID:pve1:C3A1:0012D687:68D88F00:qmstart:100:root@pam:",
        "UPID:pve1:0000C3A1:0012D687:68D88F00:qmstart:100:root@pam",
        "UPID:pve1:0000C3A1:0012D687:68D88F00:qmstart:100:root@pam:\n",
        "UPID:../x:0000C3A1:0012D687:68D88F00:qmstart:100:root@pam:",
        "UPID:pve1:0000C3A1:0012D687:68D88F00:qm start:100:root@pam:",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a task id"):
        Upid.parse(text)
