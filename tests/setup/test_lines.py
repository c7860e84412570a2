"""What `setup token` prints, without a host."""

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.actions import ACTIONS
from mqtt_bridge.settings import NamedToken, PermissionSettings, Settings
from proxmox_mcp import cli
from proxmox_mcp.setup.grants import PBS_ROLES, chosen, fewest, grants
from proxmox_mcp.setup.wanted import Asker, Wanted, from_settings, set_of
from proxmox_mcp.tools import ALL
from proxmox_mcp.tools.permissions import READS, Need
from tests.support.root_shell import env_lines, shell_lines

STARTED = Path(__file__).resolve().parents[2] / "proxmox_mcp" / "tools"


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for key in ("MCP_ALLOW", "MQTT_ALLOW", "DISCORD_ALLOW", "PROXMOX_ALLOW_ELEVATED", "MCP_TOOLSETS"):
        monkeypatch.delenv(key, raising=False)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["setup", "token", *words]) == 0
    return capsys.readouterr().out


def data(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    (found,) = json.loads(printed(capsys, *words, "--json"))
    assert isinstance(found, dict)
    return found


def held(found: dict[str, Any]) -> dict[str, set[str]]:
    return {grant["path"]: set(grant["privileges"]) for grant in found["grants"]}


def test_without_settings_it_is_for_reading(capsys: pytest.CaptureFixture[str]) -> None:
    rights = held(data(capsys))
    assert rights["/vms"] == {"VM.Audit", "VM.Backup", "VM.GuestAgent.Audit"}
    assert rights["/storage"] == {"Datastore.Audit", "Datastore.AllocateSpace"}
    assert rights["/nodes"] == {"Sys.Audit"}
    assert rights["/"] == {"Sys.Audit", "Sys.Syslog"}


def test_lean_gives_nothing_that_changes_anything(capsys: pytest.CaptureFixture[str]) -> None:
    found = data(capsys, "--lean", "--level", "read", "--toolsets", "all")
    given = set().union(*held(found).values())
    assert {privilege.rpartition(".")[2] for privilege in given} <= {"Audit", "Syslog"}
    assert {need["privilege"] for need in found["left_out"]} >= {"VM.Backup", "Datastore.AllocateSpace"}


def test_lean_leaves_out_hibernation_since_disks_could_be_removed_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--level", "operate", "--toolsets", "all")
    assert "VM.Config.Disk" in held(data(capsys, *words))["/vms"]
    found = data(capsys, *words, "--lean")
    assert "VM.Config.Disk" not in held(found)["/vms"]
    assert "guest.hibernate" in {need["feature"] for need in found["left_out"]}


def test_what_edits_nodes_is_given_on_request_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Sys.Modify" not in str(held(data(capsys, "--level", "exec", "--toolsets", "all")))
    assert "Sys.Modify" in held(data(capsys, "--updates"))["/nodes"]


def test_no_privilege_of_the_root_reaches_what_is_below(capsys: pytest.CaptureFixture[str]) -> None:
    """On / it would reach /access, where Sys.Modify edits roles."""
    found = data(capsys, "--level", "exec", "--toolsets", "all", "--updates")
    assert [grant["path"] for grant in found["grants"] if not grant["propagate"]] == ["/"]
    assert not any(path.startswith("/access") for path in held(found))


@pytest.mark.parametrize(
    ("level", "given", "not_given"),
    [
        ("operate", {"VM.PowerMgmt", "VM.Snapshot"}, {"VM.Allocate", "VM.Snapshot.Rollback", "VM.Clone"}),
        ("change", {"VM.Allocate", "VM.Clone", "VM.Config.Network"}, {"VM.Snapshot.Rollback", "VM.GuestAgent.Unr"}),
        ("destroy", {"VM.Snapshot.Rollback"}, {"VM.GuestAgent.Unrestricted"}),
        ("exec", {"VM.GuestAgent.Unrestricted"}, {"Permissions.Modify", "User.Modify"}),
    ],
)
def test_each_level_has_what_its_actions_need(
    capsys: pytest.CaptureFixture[str], level: str, given: set[str], not_given: set[str]
) -> None:
    text = printed(capsys, "--level", level, "--toolsets", "all")
    assert all(privilege in text for privilege in given)
    assert not any(privilege in text for privilege in not_given)


def test_sets_that_are_not_used_bring_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    rights = held(data(capsys, "--level", "destroy", "--toolsets", "core,power", "--lean"))
    assert rights["/vms"] == {"VM.Audit", "VM.GuestAgent.Audit", "VM.PowerMgmt"}


def test_commands_over_mqtt_and_in_discord_count_whatever_the_toolsets() -> None:
    sets = frozenset({"core"})
    wanted = Wanted((Asker("read", sets), Asker("operate")), sets)
    names = {row.name for row in wanted.actions()}
    assert {"guest.start", "snapshot.create", "backup.create"} <= names
    assert not {"guest.stop", "guest.delete"} & names


def test_named_tokens_count_with_their_own_level_and_sets() -> None:
    settings = Settings(permission=PermissionSettings(mcp_allow="read"))
    mcp = type(settings.mcp)(tokens=(NamedToken("n8n", "0" * 64, "destroy", frozenset({"create_snapshot"})),))
    names = {row.name for row in from_settings(Settings(permission=settings.permission, mcp=mcp)).actions()}
    if "create_snapshot" in {tool.name for tool in ALL}:
        assert names == {"snapshot.create", "snapshot.rollback", "snapshot.delete"}
    assert "guest.start" not in names


def test_images_are_fetched_only_where_hosts_are_listed() -> None:
    assert "image.download" not in {row.name for row in from_settings(_allowing("change")).actions()}
    listed = _allowing("change", images=frozenset({"cloud.debian.org"}))
    assert "image.download" in {row.name for row in from_settings(listed).actions()}


def _allowing(level: str, images: frozenset[str] = frozenset()) -> Settings:
    permission = PermissionSettings(mcp_allow=level, image_url_allowlist=images)  # type: ignore[arg-type]
    mcp = type(Settings().mcp)(toolsets=frozenset({"all"}))
    return Settings(permission=permission, mcp=mcp)


def test_every_action_belongs_to_the_set_whose_tools_ask_for_it() -> None:
    for tool in ALL:
        if tool.read_only:
            continue
        source = (STARTED / f"{tool.run.__module__.rpartition('.')[2]}.py").read_text("utf-8")
        sets = {each.toolset for each in ALL if each.run.__module__ == tool.run.__module__ and not each.read_only}
        for name in ACTIONS:
            if f'"{name}"' in source:
                assert set_of(name) in sets, (name, tool.name)


def test_an_action_that_no_row_of_sets_knows_is_wanted_with_every_set() -> None:
    row = ACTIONS["guest.start"]
    unknown = dataclasses.replace(row, name="moon.start")
    assert set_of("moon.start") is None
    assert Asker("operate", frozenset({"core"})).wants(unknown)
    assert not Asker("read").wants(unknown)


def test_alternatives_are_taken_from_what_is_needed_anyway() -> None:
    assert chosen(["A|B", "B"]) == ("B",)
    assert chosen(["A|B"]) == ("A",)


@pytest.mark.parametrize(
    ("needed", "roles"),
    [
        (("Datastore.Audit",), ("DatastoreAudit",)),
        (("Datastore.Audit", "Datastore.Verify"), ("DatastoreReader",)),
        (("Datastore.Audit", "Datastore.Backup"), ("DatastoreAudit", "DatastoreBackup")),
        (("Datastore.Audit", "Datastore.Modify"), ("DatastoreAdmin",)),
        (("Sys.Audit",), ("Audit",)),
        (("Sys.Modify",), ("Admin",)),
    ],
)
def test_the_roles_of_backup_server_that_give_the_least_besides(
    needed: tuple[str, ...], roles: tuple[str, ...]
) -> None:
    assert fewest(needed) == roles


def test_needs_of_one_zone_are_granted_for_all() -> None:
    (grant,) = grants("pve", [Need("vm.create", "pve", "/sdn/zones/{zone}", "SDN.Use")], "mqtt")
    assert (grant.path, grant.roles) == ("/sdn/zones", ("ProxmoxMcp-mqtt-sdn-zones",))
    assert grant.extra == ()


def test_every_line_is_one_command_and_names_are_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ((), ("--pbs",)):
        lines = shell_lines(printed(capsys, *words))
        assert any("'proxmox-mcp@" in line and "!mqtt'" in line for line in lines), "bash expands a bare !"
        assert all(shlex.split(line) for line in lines)


def test_the_token_is_separated_from_its_user(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shell_lines(printed(capsys, "--user", "bot@pve", "--name", "ro1"))
    assert "pveum user token add bot@pve ro1 --privsep 1" in lines
    assert all("--users bot@pve --tokens 'bot@pve!ro1'" in line for line in lines if " acl " in line)


def test_root_gets_no_roles_only_its_token(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shell_lines(printed(capsys, "--user", "root@pam"))
    assert not any("user add" in line or "--users" in line for line in lines)


def test_later_only_the_roles_are_changed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shell_lines(text := printed(capsys, "--update"))
    assert not any(" user " in line for line in lines)
    assert any("pveum role modify" in line for line in lines)
    assert env_lines(text) == {}


def test_the_lines_for_the_settings_are_of_the_site(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that is written down without the token that is still to be made."""
    for key, value in {"PVE_NODES": "alpha", "ALPHA_HOST": "192.0.2.5", "PBS_NODES": "store"}.items():
        monkeypatch.setenv(key, value)
    text = printed(capsys)
    assert "site alpha" in text
    assert "site store" in text
    assert env_lines(text)["ALPHA_USER"] == "proxmox-mcp@pve"
    assert env_lines(text)["STORE_USER"] == "proxmox-mcp@pbs"
    assert "STORE_" not in printed(capsys, "--site", "alpha")
    assert "ALPHA_" not in printed(capsys, "--pbs")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--user", "bot"), "NAME@REALM"),
        (("--user", "a b@pve"), "NAME@REALM"),
        (("--name", "x y"), "token's name"),
        (("--name", "9"), "token's name"),
        (("--site", "nowhere"), "no such site"),
        (("--toolsets", "snapshotz"), "snapshotz"),
    ],
)
def test_what_cannot_be_is_said(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str) -> None:
    assert cli.main(["setup", "token", *words]) == 1
    assert says in capsys.readouterr().err


def test_other_mistakes_of_the_settings_stop_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_ALLOW", "everything")
    assert cli.main(["setup", "token"]) == 2
    assert "MCP_ALLOW" in capsys.readouterr().err


def test_reads_name_tools_that_exist() -> None:
    assert {name for row in READS for name in row.tools} <= {tool.name for tool in ALL}
    assert all(role in PBS_ROLES for role in ("DatastoreAudit", "Audit"))
