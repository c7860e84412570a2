"""Error answers as recorded from real hosts, and what becomes of them."""

from typing import Any

import pytest

from mqtt_bridge.errors import (
    ForbiddenError,
    NotFoundError,
    ProtocolError,
    ProxmoxError,
    RejectedError,
    UnauthorizedError,
    UnreachableError,
)
from mqtt_bridge.proxmox.translate import Reply, answer_error, clean
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import Endpoint

PVE = Endpoint("pve1", "10.0.0.1", 8006, "pve", "bridge@pve", "mqtt", Secret("5ec2e7"))
PBS = Endpoint("pbs", "10.0.0.2", 8007, "pbs", "bridge@pbs", "mqtt", Secret("5ec2e7"))


def message(text: str, **more: Any) -> dict[str, Any]:
    return {"data": None, "message": f"{text}\n", **more}


def pve(status: int, text: str, body: Any = None, path: str = "x", node: str | None = None) -> ProxmoxError:
    return answer_error(Reply(status, text, message(text) if body is None else body, "GET", path, node), PVE)


@pytest.mark.parametrize(
    "text",
    [
        "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist",
        "hostname lookup 'nosuch' failed - failed to get address info for: nosuch: Temporary failure",
        "storage 'nosuch' does not exist",
        "snapshot 'before' does not exist",
        "no such VM ('999')",
        "unable to find configuration file for CT 999 on node 'pve1'",
        "pool 'x' does not exist",
    ],
)
def test_gone(text: str) -> None:
    error = pve(500, text)
    assert isinstance(error, NotFoundError)
    assert text in str(error)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (500, "VM is locked (backup)"),
        (500, "VM 100 is running - destroy failed"),
        (500, "No QEMU guest agent configured"),
        (500, "storage 'nas' is disabled"),
        (500, "checksum mismatch (file change by other user?)"),
        (500, "unable to create VM 130 - VM 130 already exists on node 'pve1'"),
        (500, "bridge 'vmbr9' does not exist"),
    ],
)
def test_refused(status: int, text: str) -> None:
    error = pve(status, text)
    assert type(error) is RejectedError
    assert text in str(error)


def test_parameters() -> None:
    body = message("Parameter verification failed.", errors={"vmid": "type check ('integer') failed - got 'abc'"})
    error = pve(400, "Parameter verification failed.", body)
    assert isinstance(error, RejectedError)
    assert error.fields == {"vmid": "type check ('integer') failed - got 'abc'"}
    assert "vmid: type check" in str(error)


def test_unknown_task() -> None:
    error = pve(400, "Parameter verification failed.", message("P", errors={"upid": "no such task"}))
    assert isinstance(error, NotFoundError)


@pytest.mark.parametrize(
    ("text", "path", "privilege", "role"),
    [
        ("Permission check failed (/vms/100, VM.PowerMgmt)", "/vms/100", "VM.PowerMgmt", "PVEVMUser"),
        ("Permission check failed (/, Sys.Audit)", "/", "Sys.Audit", "PVEAuditor"),
        (
            "Permission check failed (/storage/local, Datastore.Audit|Datastore.AllocateSpace)",
            "/storage/local",
            "Datastore.Audit|Datastore.AllocateSpace",
            "PVEAuditor",
        ),
    ],
)
def test_forbidden_names_path_privilege_and_the_line_that_grants_it(
    text: str, path: str, privilege: str, role: str
) -> None:
    error = pve(403, text)
    assert isinstance(error, ForbiddenError)
    assert (error.path, error.privilege, error.status) == (path, privilege, 403)
    assert f"pveum acl modify {path} --users bridge@pve --tokens 'bridge@pve!mqtt' --roles" in error.cure
    assert role in error.cure


def test_forbidden_without_details() -> None:
    error = pve(403, "Permission check failed", path="access/users/root@pam/token")
    assert isinstance(error, ForbiddenError)
    assert (error.path, error.privilege) == ("", "")
    assert "access/users/root@pam/token" in str(error)


@pytest.mark.parametrize(("status"), [400, 403])
def test_forbidden_by_pbs(status: int) -> None:
    text = "permission check failed - missing permissions 'Datastore.Audit|Datastore.Backup' on '/datastore/main'"
    error = answer_error(Reply(status, "Bad Request", text, "GET", "admin/datastore/main/groups", None), PBS)
    assert isinstance(error, ForbiddenError)
    assert (error.path, error.privilege) == ("/datastore/main", "Datastore.Audit|Datastore.Backup")
    assert "proxmox-backup-manager acl update /datastore/main DatastoreAudit" in error.cure


def test_pbs_says_it_in_the_body() -> None:
    error = answer_error(Reply(400, "Bad Request", "no such datastore 'x'", "GET", "admin/datastore/x", None), PBS)
    assert isinstance(error, NotFoundError)


def test_unauthorized() -> None:
    error = pve(401, "Authentication failed!", "")
    assert isinstance(error, UnauthorizedError)
    assert "bridge@pve!mqtt" in str(error)
    assert "Authentication failed" in str(error)


@pytest.mark.parametrize("status", [595, 596])
def test_a_node_that_is_down_is_named(status: int) -> None:
    error = pve(status, "No route to host", "", "nodes/pve3/status", "pve3")
    assert isinstance(error, UnreachableError)
    assert error.status == status
    assert error.message.startswith("Node pve3 does not answer")
    assert "No route to host" in error.message


@pytest.mark.parametrize(
    ("method", "status", "maybe"), [("POST", 596, True), ("POST", 595, False), ("GET", 596, False)]
)
def test_a_write_that_a_node_swallowed_may_have_been_carried_out(method: str, status: int, maybe: bool) -> None:
    error = answer_error(Reply(status, "Connection timed out", "", method, "nodes/pve3/x", "pve3"), PVE)
    assert ("may have been carried out" in error.cure) is maybe


def test_no_such_call() -> None:
    error = pve(501, "Method 'GET /x' not implemented")
    assert isinstance(error, RejectedError)
    assert "release" in error.cure


def test_an_html_error_page_is_no_text_of_proxmox() -> None:
    error = pve(404, "Not Found", "<!DOCTYPE html><html><body>nginx</body></html>")
    assert isinstance(error, ProtocolError)
    assert "nginx" not in str(error)
    assert isinstance(pve(502, "Bad Gateway", "<html>nginx"), UnreachableError)


def test_text_from_outside_is_one_capped_line_without_tricks() -> None:
    assert clean("a\r\n\x1b[31mb\u202ec\x00") == "a [31mb c"
    assert len(clean("x" * 5000)) == 400
