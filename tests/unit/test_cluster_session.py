"""The proxy of the session to the API server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from regcred.cluster.session import KubeSession
from regcred.errors import TransientError

API = "http://api.invalid"


@pytest.fixture
async def proxy() -> AsyncIterator[str]:
    """The address of a proxy that answers each request with the requested URL."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"url": str(request.url)})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}"
    await runner.cleanup()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def requested_url(*, kubeconfig: str | None = None) -> str:
    """The URL that the proxy received; ``kubeconfig`` is the proxy in the kubeconfig."""
    configuration = Configuration(host=API)
    configuration.proxy = kubeconfig
    session = KubeSession(configuration)
    try:
        return str((await session.call("GET", "/version"))["url"])
    finally:
        await session.close()


async def test_the_kubeconfigs_proxy_is_used(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert await requested_url(kubeconfig=proxy) == f"{API}/version"


async def test_without_one_in_the_kubeconfig_the_environments_proxy_is_used(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    assert await requested_url() == f"{API}/version"


async def test_hosts_in_no_proxy_are_reached_directly(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", ".invalid")
    with pytest.raises(TransientError, match="can't be reached"):
        await requested_url()
