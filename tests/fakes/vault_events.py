"""The subscription of Vault Enterprise's events."""

from __future__ import annotations

import fnmatch
import json
import re

from aiohttp import web

EVENT = {
    "id": "2d5b2f1c-7a6e-4c53-8a44-1d1f6d7f7f10",
    "source": "vault://node1",
    "specversion": "1.0",
    "type": "*",
    "data": {
        "event": {
            "id": "2d5b2f1c-7a6e-4c53-8a44-1d1f6d7f7f10",
            "metadata": {
                "current_version": "3",
                "data_path": "regcred/data/credentials/payments/_index",
                "modified": "true",
                "oldest_version": "1",
                "operation": "data-write",
                "path": "regcred/data/credentials/payments/_index",
            },
        },
        "event_type": "kv-v2/data-write",
        "plugin_info": {
            "mount_class": "secret",
            "mount_accessor": "kv_5dc4d18e",
            "mount_path": "regcred/",
            "plugin": "kv",
            "plugin_version": "v0.25.0+builtin",
            "version": "2",
        },
    },
    "datacontentype": "application/cloudevents",
    "time": "2026-11-24T12:00:00Z",
}


def event(path: str, *, mount: str = "regcred/") -> str:
    copy = json.loads(json.dumps(EVENT))
    copy["data"]["event"]["metadata"].update(path=path, data_path=path)
    copy["data"]["plugin_info"]["mount_path"] = mount
    return json.dumps(copy)


def rules(policy: str) -> dict[str, dict[str, list[str]]]:
    """The capabilities and event types of a policy, by path."""
    found = {}
    for path, body in re.findall(r'^path "([^"]*)" \{(.*?)^\}', policy, re.MULTILINE | re.DOTALL):
        lists = re.findall(r"(\w+)\s*=\s*(\[.*?\])", body, re.DOTALL)
        found[path] = {name: json.loads(values) for name, values in lists}
    return found


def granted(policies: list[str], path: str, *, event: str = "") -> bool:
    """Whether policies let a token read a path, or subscribe to a type of event about it.

    As in Vault, the most specific pattern that matches counts, with its rules in all policies. Sources:
    https://developer.hashicorp.com/vault/docs/concepts/policies#priority-matching and
    https://developer.hashicorp.com/vault/docs/concepts/events#policies.
    """
    fitting: dict[str, list[dict[str, list[str]]]] = {}
    for policy in policies:
        for pattern, rule in rules(policy).items():
            if path == pattern or (pattern.endswith("*") and path.startswith(pattern[:-1])):
                fitting.setdefault(pattern, []).append(rule)
    best = max(fitting, key=lambda pattern: (not pattern.endswith("*"), len(pattern)), default="")
    found = fitting.get(best, [])
    capabilities = {each for rule in found for each in rule.get("capabilities", [])}
    if not event:
        return "read" in capabilities
    types = [each for rule in found for each in rule.get("subscribe_event_types", [])]
    return "subscribe" in capabilities and any(fnmatch.fnmatchcase(event, each) for each in types)


class EventServer:
    """Serves the subscription. It answers the first handshakes with the statuses in ``refusals``.

    With ``policies`` it is as strict as Vault Enterprise: 403 for a token that may not read the
    subscription's path, and no event about a path that the token may not subscribe to.
    """

    def __init__(self) -> None:
        self.refusals: list[int] = []
        self.redirect = ""
        self.redirect_status = 307
        self.policies: list[str] | None = None
        self.handshakes: list[dict[str, str]] = []
        self.sockets: list[web.WebSocketResponse] = []

    async def subscribe(self, request: web.Request) -> web.StreamResponse:
        self.handshakes.append(dict(request.headers))
        assert request.rel_url.raw_path == "/v1/sys/events/subscribe/kv-v2%2F*"
        assert request.query["json"] == "true"
        if self.redirect:
            return web.Response(status=self.redirect_status, headers={"Location": self.redirect})
        if self.policies is not None and not granted(self.policies, "sys/events/subscribe/kv-v2/*"):
            self.refusals.append(403)
        if self.refusals:
            status = self.refusals.pop(0)
            reason = "1 error occurred:\n\t* unsupported path\n\n" if status == 404 else "permission denied"
            return web.json_response({"errors": [reason]}, status=status)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for _ in socket:
            pass
        return socket

    async def send(self, text: str) -> None:
        await self.sockets[-1].send_str(text)

    async def happen(self, path: str, kind: str = "kv-v2/data-write") -> None:
        """Send an event, as after a write, if the subscriber's policies allow it."""
        if granted(self.policies or [], path, event=kind):
            await self.send(event(path))
