"""Images that a node fetches from the web: nothing is really fetched here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxmox_mcp.lab.errors import ApiError
from proxmox_mcp.lab.state import Volume

if TYPE_CHECKING:
    from proxmox_mcp.lab.call import Call, Route
    from proxmox_mcp.lab.tasks import Task

SIZE = 600 * 1024**2  # bytes of whatever is fetched


def download(call: Call) -> str:
    params, world = call.params, call.world
    storage = world.usable_storage(params["storage"], call.node.name)
    if params["content"] not in storage.content.split(","):
        raise ApiError(500, f"storage '{storage.name}' is not configured for content-type '{params['content']}'")
    volid = f"{storage.name}:{params['content']}/{params['filename']}"
    if any(one.volid == volid for one in storage.on(call.node.name)):
        raise ApiError(500, f"refusing to override existing file '{params['filename']}'")

    async def work(task: Task) -> None:
        task.say(f"downloading {params['url']} to {storage.path}/{params['filename']}")
        await task.sleep(1.5)
        there = storage.on(task.node)
        form = params["filename"].rpartition(".")[2]
        there.append(Volume(volid, params["content"], form, SIZE, int(world.now())))
        task.say("calculating checksum...OK, checksum verified", f"download of '{params['url']}' finished")

    return call.start("download", params["filename"], work)


ROUTES: tuple[Route, ...] = (("POST", "/nodes/{node}/storage/{storage}/download-url", download),)
