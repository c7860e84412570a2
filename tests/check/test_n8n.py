"""`proxmox-mcp check` says which URL n8n needs, and what is missing for it."""

import ipaddress

from mqtt_bridge.settings import McpSettings
from proxmox_mcp.check.n8n import found, own_address

EVERYWHERE = "0.0.0.0"  # noqa: S104 -- a setting, nothing listens


def told(mcp: McpSettings) -> str:
    rows = list(found(mcp, "192.0.2.7"))
    assert all(row.ok is None for row in rows), "notes: nobody needs n8n"
    return "\n".join(f"{row.what}: {row.detail} -> {row.cure}" for row in rows)


def test_on_loopback_docker_gets_nothing_and_the_cure_is_told() -> None:
    text = told(McpSettings(host="127.0.0.1", port=8080))
    assert "http://127.0.0.1:8080/mcp" in text
    assert "in Docker: none" in text
    assert "MCP_HTTP_HOST=0.0.0.0" in text
    assert "MCP_ALLOWED_HOSTS=host.docker.internal" in text


def test_beyond_loopback_each_place_has_its_url() -> None:
    text = told(McpSettings(host=EVERYWHERE, port=8081))
    assert "http://192.0.2.7:8081/mcp from other machines; http://127.0.0.1:8081/mcp on this one" in text
    assert "http://host.docker.internal:8081/mcp" in text
    assert "add host.docker.internal" in text


def test_what_is_allowed_needs_no_cure() -> None:
    for name in ("host.docker.internal", "Host.Docker.Internal:8080"):
        assert "add" not in told(McpSettings(host=EVERYWHERE, port=8080, allowed_hosts=(name,)))


def test_one_address_and_a_port_that_changes() -> None:
    assert "http://[2001:db8::1]:8080/mcp from other machines ->" in told(McpSettings(host="2001:db8::1", port=8080))
    assert "MCP_HTTP_PORT" in told(McpSettings(port=0))


def test_an_address_of_ours_is_found() -> None:
    assert ipaddress.ip_address(own_address())
