"""Prompts: how to look after a Proxmox site with these tools. The texts are in prompt_texts.py."""

from collections.abc import Mapping
from dataclasses import dataclass

import mcp_types as types

from mqtt_bridge.errors import UnknownTargetError
from mqtt_bridge.wording.clean import one_line
from proxmox_mcp import prompt_texts as texts

LONGEST = 200  # characters of an argument
EARLIER = {"guest": "vmid"}  # what arguments were called before


@dataclass(frozen=True)
class Argument:
    """An optional argument of a prompt; `default` stands in the text where none is given."""

    name: str
    text: str
    default: str = "not given"


@dataclass(frozen=True)
class Prompt:
    """One prompt. In `body`, `{p}` is what stands before every tool's name, `{name}` an argument in quotes."""

    name: str
    title: str
    text: str
    arguments: tuple[Argument, ...]
    body: str

    def listed(self) -> types.Prompt:
        """As `prompts/list` shows it."""
        return types.Prompt(
            name=self.name,
            title=self.title,
            description=self.text,
            arguments=[types.PromptArgument(name=a.name, description=a.text, required=False) for a in self.arguments],
        )


_SITE = Argument("site", "site (default: all)", "all")
_NODE = Argument("node", "node (default: all)", "all")
ALL = (
    Prompt(
        "health_check",
        "Health check",
        "Look after a site: what is wrong, what could not be checked.",
        (_SITE,),
        texts.HEALTH_CHECK,
    ),
    Prompt(
        "incident_response",
        "Incident response",
        "Find the cause of trouble with a guest, a node or a site.",
        (
            Argument("vmid", "VMID of the guest concerned"),
            Argument("node", "node concerned"),
            _SITE,
            Argument("what", "what was noticed, and when"),
        ),
        texts.INCIDENT_RESPONSE,
    ),
    Prompt(
        "storage_analysis",
        "Storage analysis",
        "What fills storages and datastores, what can go, what will be full next.",
        (Argument("storage", "storage (default: all)", "all"), _NODE, _SITE),
        texts.STORAGE_ANALYSIS,
    ),
    Prompt(
        "capacity_planning",
        "Capacity planning",
        "How long CPU, memory and storage suffice, and what the loss of a node would mean.",
        (_SITE, _NODE, Argument("growth", "what is planned, e.g. three more VMs with 8 GiB each", "none named")),
        texts.CAPACITY_PLANNING,
    ),
    Prompt(
        "provision_guest",
        "Provision a guest",
        "Plan and create a VM or container: questions first, then a dry run, then a person's word.",
        (
            Argument("purpose", "what it is for"),
            Argument("kind", "vm or container", "to be chosen"),
            Argument("name", "its name"),
            Argument("node", "where it should run", "to be chosen"),
            Argument("storage", "where its disk should be", "to be chosen"),
            Argument("site", "site", "the only one, else ask"),
        ),
        texts.PROVISION_GUEST,
    ),
    Prompt(
        "diagnose_permissions",
        "Diagnose permissions",
        "What the API token and these settings allow, what fails for lack of a privilege, and the least that mends it.",
        (Argument("tool", "tool or task that should work", "all tools"), _SITE),
        texts.DIAGNOSE_PERMISSIONS,
    ),
)


def render(name: str, arguments: Mapping[str, str], prefix: str) -> str:
    """The text of a prompt; UnknownTargetError if there is none of that name, or an argument that it does not have."""
    prompt = next((prompt for prompt in ALL if prompt.name == name), None)
    if prompt is None:
        raise UnknownTargetError(
            f"There is no prompt {name!r}.", cure=f"Prompts: {', '.join(prompt.name for prompt in ALL)}."
        )
    given = {EARLIER.get(key, key): value for key, value in arguments.items()}
    known = {argument.name for argument in prompt.arguments}
    if unknown := sorted(set(given) - known):
        raise UnknownTargetError(
            f"The prompt {name} has no argument {unknown[0]!r}.", cure=f"It has: {', '.join(sorted(known))}."
        )
    values = {a.name: _value(given.get(a.name), a.default) for a in prompt.arguments}
    return f"{prompt.body}\n\n{texts.RULES}".format(p=prefix, **values)


def _value(given: str | None, default: str) -> str:
    """One line between quotes that it cannot leave."""
    text = one_line(given or "", LONGEST).replace("«", "<").replace("»", ">")
    return f"«{text}»" if text else default
