"""Maintenance of a node: planned, shown, moved, rebooted once approved, brought back; stopped by the first failure."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urljoin

from aiohttp import ClientSession, DummyCookieJar

from tests.e2e.n8n.n8n import BROWSER, PUBLIC
from tests.e2e.n8n.stage import Stage, changed, workflow
from tests.e2e.n8n.test_approvals import decide

MAINTENANCE, APPROVALS = "7-node-maintenance", "3-approvals"
NODE = "pve3"


def form(stage: Stage) -> str:
    raw = workflow(MAINTENANCE, stage.ports)
    (trigger,) = (one for one in raw["nodes"] if one["type"].endswith("formTrigger"))
    return f"/form/{trigger['webhookId']}"


async def page_token(stage: Stage) -> str:
    """What the form's page sends back as proof of who opened it: a browser's way through n8n's login, all of it.

    n8n asks its own OAuth server; whoever is logged in is asked for consent there, and comes back with a code.
    """
    n8n, cookies, url = stage.n8n, {"n8n-auth": stage.n8n.cookie}, stage.n8n.url + form(stage)
    async with ClientSession(cookie_jar=DummyCookieJar()) as browser:
        for _ in range(100):
            sent = "; ".join(f"{name}={value}" for name, value in cookies.items())
            headers = {"cookie": sent, "browser-id": "tests", "user-agent": BROWSER}
            seen = await browser.get(n8n.inside(url), headers=headers, allow_redirects=False)
            page = await seen.text()
            cookies |= {name: morsel.value for name, morsel in seen.cookies.items()}
            if found := re.search(r"const authToken = '([^']+)'", page):
                return found[1]
            if seen.status == 404:  # published a moment ago
                await asyncio.sleep(0.2)
            elif "Location" in seen.headers:
                url = urljoin(url, seen.headers["Location"])
            else:
                sent = "; ".join(f"{name}={value}" for name, value in cookies.items())
                approve = f"{n8n.url}/rest/consent/approve"
                agreed = await browser.post(approve, json={"approved": True}, headers={**headers, "cookie": sent})
                told = await agreed.json(content_type=None)
                assert agreed.status == 200, (url, seen.status, page[:300], told)
                url = told["data"]["redirectUrl"]
    raise AssertionError(f"no form at the end of the way: {url}")


async def send_form(stage: Stage, token: str | None = None, targets: str = "pve1, pve2", back: str = "yes") -> int:
    """As somebody does who is logged in, opens the form, and fills it in; or with this token."""
    token = await page_token(stage) if token is None else token
    border = uuid.uuid4().hex
    values = ("lab", NODE, targets, back)
    parts = [
        f'--{border}\r\nContent-Disposition: form-data; name="field-{i}"\r\n\r\n{v}\r\n' for i, v in enumerate(values)
    ]
    body = ("".join(parts) + f"--{border}--\r\n").encode()
    headers = {"content-type": f"multipart/form-data; boundary={border}", "x-auth-token": token}
    status, _ = await stage.n8n.reach("POST", form(stage), body, **headers)
    return status


@asynccontextmanager
async def opened(stage: Stage, *others: str) -> AsyncIterator[str]:
    async with stage.published(MAINTENANCE, *others) as maintenance:
        await stage.until(lambda: stage.tree.status(105) == "running")
        yield maintenance


def running_on(stage: Stage, node: str = NODE) -> set[int]:
    return {guest.vmid for guest in stage.lab.world.guests.values() if guest.node == node and guest.running}


async def test_from_the_plan_to_the_return(stage: Stage) -> None:
    """The broker is restarted in the middle."""
    before = running_on(stage)
    async with opened(stage, APPROVALS) as maintenance:
        assert await send_form(stage) == 200
        links = await stage.asked(f"Maintenance of {NODE}")
        assert stage.posts("*/migrate") == 0
        await stage.broker_restarted()
        await stage.follow(links["Begin"])
        await stage.told("waits for approval", 90)
        assert running_on(stage) == set()
        assert stage.posts(f"/nodes/{NODE}/status") == 0
        await decide(stage, (await stage.asked("reboot", 2))["Decide"], "Approve")
        await stage.told("is done", 180)
        execution = await stage.ended(maintenance)
        assert execution.status == "success", execution
        assert stage.posts(f"*/nodes/{NODE}/status") == 1
        assert running_on(stage) == before
        assert len([one for one in stage.said("notify") if " of " in one["title"] and "guest" in one["title"]]) >= len(
            before
        )


async def test_the_first_failure_stops_it_and_says_how_to_go_on(stage: Stage) -> None:
    before = running_on(stage)
    async with opened(stage) as maintenance:
        assert await send_form(stage) == 200
        links = await stage.asked(f"Maintenance of {NODE}")
        stage.lab.fault("task-fail", "qmigrate", "no route to the target")
        await stage.follow(links["Begin"])
        told = await stage.told("stopped at guest", 90)
        assert "no route to the target" in told["message"]
        assert "To go on" in told["message"]
        execution = await stage.ended(maintenance)
        assert execution.status == "success", execution
        assert stage.posts("*/status") == 0
        assert running_on(stage)
        assert len(running_on(stage)) < len(before) or "none" in told["message"]


async def test_a_refusal_and_a_wrong_target_change_nothing(stage: Stage) -> None:
    async with opened(stage) as maintenance:
        assert await send_form(stage, targets="pve9") == 200
        await stage.told("cannot be targets: pve9")
        execution = await stage.ended(maintenance)
        stage.after = execution.id
        assert await send_form(stage) == 200
        await stage.follow((await stage.asked(f"Maintenance of {NODE}"))["Do not"])
        await stage.told("decided against")
        assert (await stage.ended(maintenance)).status == "success"
        assert stage.posts("*/migrate") == 0


async def test_nobody_who_answers_is_a_no_and_without_our_server_nothing_begins(stage: Stage) -> None:
    raw = workflow(MAINTENANCE, stage.ports)
    await stage.replaced(raw | changed(raw, patience=0.05))
    async with opened(stage) as maintenance:
        assert await send_form(stage) == 200
        await stage.asked(f"Maintenance of {NODE}")
        assert "Nobody answered in time" in (await stage.told("was not begun", 120))["message"]
        assert (await stage.ended(maintenance)).status == "success"
        await stage.server.kill()
        before = len(stage.tree.messages)
        assert await send_form(stage) == 200
        await stage.until(lambda: "could not be looked at" in str(stage.tree.messages[before:]))
        assert stage.posts("*/migrate") == 0
    await stage.replaced(workflow(MAINTENANCE, stage.ports))


async def test_a_guest_that_cannot_move_stops_it_before_anybody_is_asked(stage: Stage) -> None:
    async with opened(stage) as maintenance:
        stage.lab.fault("guest-lock", 105, "backup")
        assert await send_form(stage) == 200
        told = await stage.told("was not begun")
        assert "105" in told["message"]
        assert (await stage.ended(maintenance)).status == "success"
        assert stage.discord.sent == []
        assert stage.posts("*/migrate") == 0


async def test_nobody_sees_or_sends_the_form_who_is_not_logged_in_to_n8n(stage: Stage) -> None:
    async with stage.published(MAINTENANCE):
        token = await page_token(stage)
        async with ClientSession() as stranger:
            seen = await stranger.get(stage.n8n.url + form(stage), allow_redirects=False)
            assert seen.status == 302
            assert seen.headers["Location"].startswith(f"{PUBLIC}/")
            asked = await stranger.get(stage.n8n.inside(seen.headers["Location"]), allow_redirects=False)
            assert "authToken" not in await asked.text()
        assert await send_form(stage, token="") == 401
        assert await send_form(stage, token=token[:-6] + "forged") == 401
        assert await stage.n8n.last_execution() == stage.after
