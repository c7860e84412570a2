"""Images that Proxmox downloads: by https, from listed hosts only, and with a checksum.

Proxmox follows redirects, so the file may come from elsewhere: the checksum says that it is the right one.
"""

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StrictStr, model_validator

from mqtt_bridge.actions.plan import Outcome, Plan, Seen, Step
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.row import Action, ActionError, Args, Privilege
from mqtt_bridge.targets import StorageRef, StorageTarget, Touched, WebTarget

Content = Literal["iso", "vztmpl", "import"]
ALGORITHMS = {56: "sha224", 64: "sha256", 96: "sha384", 128: "sha512"}  # by the number of digits
ENDINGS: dict[str, str] = {
    "iso": r"\.(iso|img)",
    "vztmpl": r"\.tar\.(gz|xz|zst|bz2)",
    "import": r"\.(qcow2|raw|vmdk|ova)",
}
HTTPS = 443
_URL = re.compile(r"https://[\x21-\x5b\x5d-\x7e]+")  # printable, no blanks, no backslash
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def host_of(url: str) -> str:
    """The host of an https URL in lower case, with `:port` if it is not 443; ValueError for what is none."""
    if not _URL.fullmatch(url):
        raise ValueError("it must be an https URL without blanks or backslashes")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise ValueError("it must be an https URL with a host and, if need be, a port") from None
    if not _HOST.fullmatch(host):
        raise ValueError("its host must be a name (or an IPv4 address)")
    return host if port in (None, HTTPS) else f"{host}:{port}"


def _url(text: str) -> str:
    host_of(text)
    return text


def _checksum(text: str) -> str:
    digits = text.strip().lower().rpartition(":")[2]
    if not re.fullmatch(r"[0-9a-f]+", digits) or len(digits) not in ALGORITHMS:
        raise ValueError("it must be a SHA-256, SHA-512, SHA-384 or SHA-224 in hexadecimal digits")
    return digits


def _file(text: str) -> str:
    if not _FILE.fullmatch(text):
        raise ValueError("it must be a file's name: letters, digits, . _ + and -")
    return text


class DownloadArgs(Args):
    """`checksum` tells its algorithm by its length. `filename`: by default the URL's."""

    url: Annotated[StrictStr, Field(max_length=2048), AfterValidator(_url)]
    checksum: Annotated[StrictStr, Field(max_length=200), AfterValidator(_checksum)]
    content: Content
    filename: Annotated[StrictStr, Field(max_length=200), AfterValidator(_file)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not _FILE.fullmatch(self.file):
            raise ValueError("the URL ends in no file's name: give filename")
        if not re.search(ENDINGS[self.content] + "$", self.file):
            ending = ENDINGS[self.content].replace("\\", "")
            raise ValueError(f"a file of content {self.content} must end in {ending}: give such a filename")
        return self

    @property
    def file(self) -> str:
        """Its name on the storage."""
        return self.filename or urlsplit(self.url).path.rpartition("/")[2]


async def _plan(reading: Reading, ref: StorageRef, args: DownloadArgs) -> Plan:
    storage = await reading.storage(ref)
    params = {
        "url": args.url,
        "content": args.content,
        "filename": args.file,
        "checksum": args.checksum,
        "checksum-algorithm": ALGORITHMS[len(args.checksum)],
        "verify-certificates": 1,
    }
    path = ("nodes", storage.node, "storage", storage.storage, "download-url")
    return Plan(
        DOWNLOAD,
        reading.api(storage.site),
        storage,
        (Step("POST", path, params),),
        (Touched(storage), Touched(WebTarget(storage.site, host_of(args.url)), "read")),
        _see,
        args,
        problem=await _problem(reading, storage, args),
    )


def volid(storage: StorageTarget, args: DownloadArgs) -> str:
    """What it will be called."""
    return f"{storage.storage}:{args.content}/{args.file}"


async def _problem(reading: Reading, storage: StorageTarget, args: DownloadArgs) -> ActionError | None:
    if args.content not in storage.content:
        takes = ", ".join(sorted(storage.content)) or "nothing"
        return ActionError(
            f"Storage {storage.storage} takes {takes}, not {args.content}.",
            cure=f"Name one that takes {args.content}, or allow it there in Proxmox (Datacenter, Storage).",
        )
    path = ("nodes", storage.node, "storage", storage.storage, "content")
    rows = await reading.api(storage.site).get(*path, content=args.content)
    if any(row.get("volid") == volid(storage, args) for row in rows):
        return ActionError(
            f"There is {volid(storage, args)} already; it is not compared with the checksum.",
            cure="Use it, or give another filename.",
        )
    return None


async def _see(plan: Plan, outcome: Outcome) -> Seen:
    storage, args = plan.target, plan.args
    if not isinstance(storage, StorageTarget) or not isinstance(args, DownloadArgs):
        raise TypeError(plan)
    path = ("nodes", storage.node, "storage", storage.storage, "content")
    rows = await plan.api.get(*path, content=args.content)
    row = next((row for row in rows if row.get("volid") == volid(storage, args)), None)
    if row is None:
        return Seen(ok=False, message=f"{volid(storage, args)} is not there.", changed=False)
    details = {"volid": volid(storage, args), "size": row.get("size")}
    return Seen(ok=outcome.ok, message=f"{volid(storage, args)} is there.", details=details)


DOWNLOAD = Action(
    "image.download",
    "Image download",
    "change",
    "storage",
    (Privilege("Datastore.AllocateTemplate", "/storage/{storage}"), Privilege("Sys.AccessNetwork", "/nodes/{node}")),
    DownloadArgs,
    _plan,
)
ROWS: tuple[Action, ...] = (DOWNLOAD,)
