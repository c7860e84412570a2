from collections.abc import Callable
from pathlib import Path

import pytest

from mqtt_bridge.settings import SiteSettings, load

Host = Callable[..., dict[str, str]]
Reporter = Callable[..., tuple[str, ...]]

CLUSTER = {"PVE_CLUSTER_NAME": "Lab"}
PIN = "AB" * 32


def sites(environ: dict[str, str]) -> tuple[SiteSettings, ...]:
    return load(environ, search=False).sites


def test_short_form(short: dict[str, str]) -> None:
    (site,) = sites(short)
    assert (site.slug, site.kind, site.clustered) == ("pve", "pve", False)
    (one,) = site.endpoints
    assert one.url == "https://192.0.2.10:8006"
    assert (one.user, one.token_name, one.token_value.reveal()) == ("mcp@pve", "mcp", short["PROXMOX_TOKEN_VALUE"])
    assert (one.verify, one.ca_file, one.fingerprint, one.tls_name) == (True, None, None, None)


def test_short_form_with_everything(short: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    more = {
        "PROXMOX_PORT": "443",
        "PROXMOX_SITE": "Home Lab",
        "PROXMOX_CA_FILE": str(tmp_path / "ca.pem"),
        "PROXMOX_TLS_NAME": "pve.lan",
        "PROXMOX_HOST": "https://[2001:db8::1]/",
    }
    (site,) = sites({**short, **more})
    (one,) = site.endpoints
    assert (site.slug, site.name) == ("home-lab", "Home Lab")
    assert one.url == "https://[2001:db8::1]:443"
    assert (one.ca_file, one.tls_name) == (tmp_path / "ca.pem", "pve.lan")


def test_two_different_ports_are_a_problem(short: dict[str, str], problems: Reporter) -> None:
    (line,) = problems({**short, "PROXMOX_HOST": "pve:1", "PROXMOX_PORT": "2"})
    assert line.startswith("PROXMOX_PORT is another port")


@pytest.mark.parametrize(
    ("user", "token"), [("mcp@pve!mcp", None), ("mcp@pve!mcp", "mcp"), ("mcp@pve", "mcp@pve!mcp"), ("mcp@pve", "mcp")]
)
def test_the_ways_to_write_user_and_token(short: dict[str, str], user: str, token: str | None) -> None:
    short |= {"PROXMOX_USER": user, "PROXMOX_TOKEN_NAME": token or ""}
    (one,) = sites(short)[0].endpoints
    assert (one.user, one.token_name) == ("mcp@pve", "mcp")


@pytest.mark.parametrize(("user", "token"), [("mcp@pve!one", "two"), ("mcp@pve", "root@pam!mcp")])
def test_user_and_token_that_contradict(short: dict[str, str], problems: Reporter, user: str, token: str) -> None:
    (line,) = problems({**short, "PROXMOX_USER": user, "PROXMOX_TOKEN_NAME": token})
    assert "correct one of them" in line


def test_standalone_each_node_and_backup_server_is_a_site(host: Host) -> None:
    found = sites(
        {
            "LAB_CONFIGURATION": "STANDALONE",
            "PVE_NODES": "pve1, PVE-2",
            "PBS_NODES": "backup",
            **host("PVE1_"),
            **host("PVE_2_", "pve2.lan:9000"),
            **host("BACKUP_", "192.0.2.20"),
        }
    )
    assert [(s.slug, s.kind, s.clustered, s.endpoints[0].url) for s in found] == [
        ("pve1", "pve", False, "https://192.0.2.11:8006"),
        ("pve-2", "pve", False, "https://pve2.lan:9000"),
        ("backup", "pbs", False, "https://192.0.2.20:8007"),
    ]


def test_cluster_subnodes_inherit_credentials_and_ca_but_no_pin(host: Host, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    (site,) = sites(
        {
            **CLUSTER,
            **host("PVE_CLUSTER_PRIMARY_", "pve1.lan:8443"),
            "PVE_CLUSTER_PRIMARY_CA_FILE": str(tmp_path / "ca.pem"),
            "PVE_CLUSTER_PRIMARY_FINGERPRINT": PIN,
            "PVE_CLUSTER_PRIMARY_TLS_NAME": "pve1",
            "PVE_CLUSTER_SUBNODES": "pve2,pve3",
            "PVE2_HOST": "192.0.2.12",
            "PVE3_HOST": "192.0.2.13",
            "PVE3_TOKEN_VALUE": "another-token",
        }
    )
    assert (site.slug, site.name, site.clustered) == ("lab", "Lab", True)
    primary, second, third = site.endpoints
    assert [one.name for one in site.endpoints] == ["pve1", "pve2", "pve3"]
    assert [one.prefix for one in site.endpoints] == ["PVE_CLUSTER_PRIMARY_", "PVE2_", "PVE3_"]
    assert (primary.port, primary.fingerprint, primary.tls_name) == (8443, ":".join(["AB"] * 32), "pve1")
    assert (second.port, second.fingerprint, second.tls_name) == (8006, None, None)
    assert (second.user, second.token_name, second.token_value) == ("mcp@pve", "mcp", primary.token_value)
    assert second.ca_file == third.ca_file == tmp_path / "ca.pem"
    assert third.token_value.reveal() == "another-token"


def test_several_clusters(host: Host) -> None:
    first, second = sites(
        {
            "PVE_CLUSTERS": "site1,site-2",
            "SITE1_HOSTS": "192.0.2.1, 192.0.2.2:9000, pve3.lan",
            **{k: v for k, v in host("SITE1_").items() if k != "SITE1_HOST"},
            "SITE_2_HOSTS": "192.0.2.9",
            "SITE_2_USER": "root@pam!x",
            "SITE_2_TOKEN_VALUE": "y",
        }
    )
    assert [e.url for e in first.endpoints] == [
        "https://192.0.2.1:8006",
        "https://192.0.2.2:9000",
        "https://pve3.lan:8006",
    ]
    assert [e.name for e in first.endpoints] == ["192.0.2.1", "192.0.2.2", "pve3"]
    assert first.clustered
    assert (second.slug, second.endpoints[0].token_name) == ("site-2", "x")


def test_one_pin_does_not_fit_several_hosts(host: Host, problems: Reporter) -> None:
    environ = {"PVE_CLUSTERS": "a", **host("A_"), "A_HOSTS": "h1,h2", "A_FINGERPRINT": PIN}
    (line,) = problems(environ)
    assert line.startswith("A_FINGERPRINT fits one host")
    assert "A_CA_FILE" in line


def test_pbs_cluster(host: Host) -> None:
    (site,) = sites({"PBS_CLUSTER_NAME": "backup", **host("PBS_CLUSTER_PRIMARY_")})
    assert (site.slug, site.kind, site.endpoints[0].port) == ("backup", "pbs", 8007)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("STANDALONE", ["solo"]), ("CLUSTERED", ["lab"]), ("MIXED", ["solo", "lab"]), ("", ["solo", "lab"])],
)
def test_what_lab_configuration_reads(host: Host, mode: str, expected: list[str]) -> None:
    settings = load(
        {
            "LAB_CONFIGURATION": mode.lower(),
            "PVE_NODES": "solo",
            **host("SOLO_", "192.0.2.30"),
            **CLUSTER,
            **host("PVE_CLUSTER_PRIMARY_"),
        },
        search=False,
    )
    assert [site.slug for site in settings.sites] == expected
    assert len(settings.warnings) == (2 - len(expected))


def test_what_is_missing_is_named_by_its_key(problems: Reporter) -> None:
    lines = problems({"PVE_NODES": "pve1"})
    assert [line.split()[0] for line in lines] == ["PVE1_HOST", "PVE1_USER", "PVE1_TOKEN_NAME", "PVE1_TOKEN_VALUE"]
    assert "PVE1_USER=proxmox-mcp@pve" in lines[1]


def test_a_cluster_without_name_or_with_nothing_but_a_name(host: Host, problems: Reporter) -> None:
    assert problems(host("PVE_CLUSTER_PRIMARY_"))[0].startswith("PVE_CLUSTER_NAME is missing")
    assert problems(CLUSTER)[0].startswith("PVE_CLUSTER_PRIMARY_HOST is missing")


def test_a_mistake_of_the_primary_is_told_once(host: Host, problems: Reporter) -> None:
    primary = {
        **host("PVE_CLUSTER_PRIMARY_"),
        "PVE_CLUSTER_PRIMARY_USER": "root",
        "PVE_CLUSTER_PRIMARY_TOKEN_VALUE": "",
    }
    lines = problems({**CLUSTER, **primary, "PVE_CLUSTER_SUBNODES": "pve2", "PVE2_HOST": "192.0.2.12"})
    assert [line.split()[0] for line in lines] == ["PVE_CLUSTER_PRIMARY_USER", "PVE_CLUSTER_PRIMARY_TOKEN_VALUE"]


@pytest.mark.parametrize("name", ["proxmox", "mqtt", "event", "MCP", "mcp-http", "pve-cluster-primary"])
def test_a_name_whose_keys_belong_to_something_else(host: Host, problems: Reporter, name: str) -> None:
    key = name.upper().replace("-", "_")
    lines = problems({"PVE_NODES": f"{name},ok", **host("OK_")})
    assert [line for line in lines if line.startswith(f"PVE_NODES names {name}") and f"PVE_NODE_{key}_HOST" in line]
    (site, _) = sites({"PVE_NODES": f"{name},ok", **host("OK_"), **host(f"PVE_NODE_{key}_", "192.0.2.99")})
    assert site.endpoints[0].host == "192.0.2.99"


@pytest.mark.parametrize("name", ["pve", "pbs", "lab", "node1", "ha"])
def test_ordinary_names_are_fine(host: Host, name: str) -> None:
    assert sites({"PVE_NODES": name, **host(f"{name.upper()}_")})[0].slug == name


def test_the_long_form_counts_where_both_are_written(host: Host) -> None:
    (site,) = sites({"PBS_NODES": "pbs1", **host("PBS1_"), "PBS_NODE_PBS1_HOST": "192.0.2.77"})
    assert site.endpoints[0].host == "192.0.2.77"


@pytest.mark.parametrize("name", ["bridge", "unassigned"])
def test_reserved_sites(short: dict[str, str], problems: Reporter, name: str) -> None:
    (line,) = problems({**short, "PROXMOX_SITE": name})
    assert line.startswith("PROXMOX_SITE makes the site")
    assert "choose another name" in line


def test_a_name_of_which_nothing_is_left(short: dict[str, str], problems: Reporter) -> None:
    (line,) = problems({**short, "PROXMOX_SITE": "!!"})
    assert "PROXMOX_SITE" in line


def test_two_sites_of_one_name(short: dict[str, str], host: Host, problems: Reporter) -> None:
    (line,) = problems({**short, "PROXMOX_SITE": "pve1", "PVE_NODES": "PVE1", **host("PVE1_")})
    assert line == "Site pve1 is what several names become on MQTT (pve1, PVE1): rename all but one."


def test_two_names_with_the_same_keys(host: Host, problems: Reporter) -> None:
    lines = problems({"PVE_NODES": "pve-1,pve_1", **host("PVE_1_")})
    assert "has the same settings PVE_1_" in lines[0]


def test_a_node_that_is_both_a_site_and_a_subnode(host: Host, problems: Reporter) -> None:
    cluster = {**CLUSTER, **host("PVE_CLUSTER_PRIMARY_"), "PVE_CLUSTER_SUBNODES": "pve2", "PVE_NODES": "pve2"}
    assert "pve2 of PVE_NODES" in problems({**cluster, **host("PVE2_", "192.0.2.12")})[0]


def test_one_address_in_two_sites_is_told(short: dict[str, str], host: Host) -> None:
    settings = load({**short, "PVE_NODES": "x", **host("X_", "192.0.2.10")}, search=False)
    assert "appears twice" in settings.warnings[0]


def test_an_address_named_twice_is_one_endpoint(host: Host) -> None:
    cluster = {**CLUSTER, **host("PVE_CLUSTER_PRIMARY_", "192.0.2.1"), "PVE_CLUSTER_SUBNODES": "a,b"}
    (site,) = sites({**cluster, "A_HOST": "192.0.2.1", "B_HOST": "192.0.2.2"})
    assert [one.host for one in site.endpoints] == ["192.0.2.1", "192.0.2.2"]


@pytest.mark.parametrize(
    ("glob", "own", "pin", "verified"),
    [
        ("", "", "", True),
        ("false", "", "", False),
        ("false", "true", "", True),
        ("", "false", "", False),
        ("false", "false", PIN, True),
    ],
)
def test_verification(short: dict[str, str], glob: str, own: str, pin: str, verified: bool) -> None:
    more = {"VERIFY_SSL": glob, "PROXMOX_VERIFY_TLS": own, "PROXMOX_FINGERPRINT": pin}
    settings = load({**short, **more}, search=False)
    assert settings.sites[0].endpoints[0].verify is verified
    assert any("VERIFY_SSL=false" in w for w in settings.warnings) is (glob == "false")
    assert any("PROXMOX_VERIFY_TLS=false" in w for w in settings.warnings) is (own == "false" and not pin)
