"""Tokens and passwords stay where they are used, whatever goes wrong and however much is logged."""

import asyncio
from pathlib import Path

from mqtt_bridge.secret import Secret
from proxmox_mcp.lab import Lab
from tests.support.mosquitto import Mosquitto
from tests.support.processes import Serve, Tree, over_http, over_stdio, until
from tests.system.conftest import Env

PASSWORD, MCP_TOKEN = "mqtt-password-5ec2e7", "mcp-token-5ec2e7-0123456789abcdef"


async def test_no_secret_is_ever_said(env: Env, lab: Lab, tmp_path: Path) -> None:
    async with Mosquitto(tmp_path / "guarded", users={"bridge": PASSWORD}) as broker:
        settings = env(
            MQTT_HOST="127.0.0.1", MQTT_PORT=str(broker.port), MQTT_USERNAME="bridge", MQTT_PASSWORD=PASSWORD,
            MCP_AUTH_TOKEN=MCP_TOKEN, LOG_LEVEL="DEBUG", PROXMOX_ALLOW_ELEVATED="true",
        )  # fmt: skip
        async with Serve(tmp_path / "serve", settings) as serve, Tree(broker.options_for("bridge"), "#") as tree:
            await serve.ready()
            await until(tree.whole)
            async with (
                over_http(serve.url, MCP_TOKEN) as agent,
                over_stdio(tmp_path / "agent", settings) as other,
            ):
                vmid = min(v for v in tree.guests() if tree.status(v) == "running" and tree.guest(v)["type"] == "qemu")
                assert (await agent.ask("execute_vm_command", vmid=vmid, command="reset"))["ok"]
                for fault, back in (
                    (("token-revoke",), ("token-restore",)),
                    (("api-error", "500"), ("api-error", "0")),
                    (("token-strip",), ("token-unstrip",)),
                ):
                    lab.fault(*fault)
                    for one in (agent, other):
                        for tool in ("get_vms", "test_connectivity", "run_diagnostic"):
                            await one.attempt(tool)
                        await one.attempt("execute_vm_command", vmid=vmid, command="reboot", timeout=3)
                    await asyncio.sleep(0.5)
                    lab.fault(*back)
                await broker.kill()
                for one in (agent, other):
                    await one.attempt("test_connectivity")
                await asyncio.sleep(0.5)
                broker.users["bridge"] = "another-password"
                await broker.start()
                await serve.said("did not accept the user name or password")
                broker.users["bridge"] = PASSWORD
                await broker.restart()
                for host in lab.hosts:
                    lab.fault("host-down", host)
                await asyncio.sleep(1)
                await agent.attempt("execute_vm_command", vmid=vmid, command="status", timeout=3)
                answers = [*agent.answers, *other.answers]
                assert len(answers) > 25
            assert await serve.stop() == 0
        published = [f"{m.topic} {m.payload.decode(errors='replace')}" for _, m in tree.messages]
        assert len(published) > 100
        said = {
            "standard error": serve.err,
            "standard error of stdio": (tmp_path / "agent" / "stdio-err").read_text(encoding="utf-8"),
            "standard output": serve.out,
            "MQTT": "\n".join(published),
            "MCP": "\n".join(answers),
            "the audit trail": (tmp_path / "state" / "audit.jsonl").read_text(encoding="utf-8"),
        }
        assert "DEBUG" in said["standard error"]
        secrets = [lab.token_value, lab.readonly_token_value, PASSWORD, MCP_TOKEN]
        assert {place for place, text in said.items() for secret in secrets if secret in text} == set()
        assert str(Secret(PASSWORD)) != PASSWORD
