"""Completion of arguments of prompts and resource templates, from the mirror: it costs Proxmox nothing.

A value fits if it begins with what was typed; a guest also if its name contains it (unless it is a
number), but the value is its VMID.
"""

from collections.abc import Callable, Iterator, Mapping

import mcp_types as types

from mqtt_bridge.errors import UnknownTargetError
from proxmox_mcp import outside, prompts, resources
from proxmox_mcp.view import View

MOST = 100  # values of one answer: the specification's limit
Finder = Callable[[View, str | None, str], Iterator[str]]


def _sites(view: View, site: str | None, typed: str) -> Iterator[str]:
    del site
    return (name for name in view.sites() if name.startswith(typed))


def _nodes(view: View, site: str | None, typed: str) -> Iterator[str]:
    return (n.state.node for n in view.nodes(site) if n.state.node.startswith(typed))


def _guests(view: View, site: str | None, typed: str) -> Iterator[str]:
    wanted = typed.casefold()
    for guest in view.guests(site):
        number, name = str(guest.state.vmid), guest.state.name.casefold()
        if number.startswith(typed) or (wanted in name and not typed.isdigit()):
            yield number


def _storages(view: View, site: str | None, typed: str) -> Iterator[str]:
    return (s.storage for s in view.storages(site) if s.storage.startswith(typed))


# by the argument's name, whatever it is an argument of
FINDERS: Mapping[str, Finder] = {"site": _sites, "node": _nodes, "vmid": _guests, "storage": _storages}


def complete(view: View | None, params: types.CompleteRequestParams) -> types.Completion:
    """Values that fit what was typed. Raises UnknownTargetError where there is no such prompt, template or argument."""
    argument = params.argument
    if argument.name not in _arguments(params.ref):
        raise UnknownTargetError(f"There is no argument {argument.name!r} to complete there.")
    if view is None or argument.name not in FINDERS:
        return types.Completion(values=[], total=0, has_more=False)
    given = (params.context.arguments if params.context else None) or {}
    site = given.get("site")
    if site is not None and site not in view.sites():
        return types.Completion(values=[], total=0, has_more=False)
    found = list(dict.fromkeys(outside.label(value) for value in FINDERS[argument.name](view, site, argument.value)))
    return types.Completion(values=found[:MOST], total=len(found), has_more=len(found) > MOST)


def _arguments(ref: types.ResourceTemplateReference | types.PromptReference) -> frozenset[str]:
    """The names of what can be completed there."""
    if isinstance(ref, types.PromptReference):
        found = next((p for p in prompts.ALL if p.name == ref.name), None)
        names = [a.name for a in found.arguments] if found else []
    else:
        template = next((t for t in resources.TEMPLATES if t.uri == ref.uri), None)
        names = list(template.variables) if template else []
    if not names:
        what = ref.name if isinstance(ref, types.PromptReference) else ref.uri
        raise UnknownTargetError(f"There is nothing to complete in {what!r}.")
    return frozenset(names)
