"""Push notifications with real processes, and the service worker in Chromium."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import BrowserContext, Page

from hub.backends.redis.client import open_client
from hub.core.deliveries import PUSH_QUEUE
from hub.core.push_subscription import encode_base64url, web_push_subscription
from hub.core.sse_decoder import SseDecoder
from hub.http.server import ListenAddress, listen
from hub.push.vapid import generate_vapid_keys
from tests.chromium import open_chromium
from tests.docs.snippets import DOCS, find_blocks
from tests.doubles import until
from tests.e2e.cluster import Cluster, create_cluster
from tests.push.push_service import Device, PushService, fake_push_service, open_push_service
from tests.redis_backend import redis_backend

KEYS = generate_vapid_keys()
USERS = 1000


@asynccontextmanager
async def push_cluster(*, origin: str | None = None, **settings: Any) -> AsyncIterator[Cluster]:
    """A node with keys for push notifications. origin: an allowed origin of pages."""
    async with create_cluster() as cluster:
        cluster.set("PUSH__PRIVATE_KEY", KEYS.private_key)
        cluster.set("PUSH__SUBJECT", "mailto:ops@example.com")
        cluster.set("PUSH__ALLOW_PRIVATE", True)
        if origin is not None:
            cluster.set("PUBLIC__ALLOWED_ORIGINS", json.dumps([origin]))
        for name, value in settings.items():
            cluster.set(f"PUSH__{name}", value)
        await cluster.start()
        yield cluster


async def connect(cluster: Cluster, user: str, stack: AsyncExitStack) -> asyncio.Task[None]:
    """Open a stream of a user. Return a task that ends when its first event has arrived.

    As clients do, it connects again if the node is too busy, which a `hub.bye` says.
    """
    while True:
        response = await stack.enter_async_context(
            cluster.session.get(f"{cluster.url}/sse/connect/{user}", timeout=None)
        )
        decoder = SseDecoder()
        first = decoder.feed(await response.content.readany())[0].name
        if first == "hub.open":
            break
        assert first == "hub.bye"
        await asyncio.sleep(0.1)

    async def read() -> None:
        names: list[str] = []
        while "notification" not in names:
            names += [event.name for event in decoder.feed(await response.content.readany())]

    return asyncio.create_task(read())


async def publish(cluster: Cluster, users: list[str]) -> None:
    """Publish an event with a notification to each user."""
    items = [{"to": {"user": user}, "push": {"title": user, "tag": "t"}} for user in users]
    url = f"{cluster.internal_url}/publish/batch"
    async with cluster.session.post(url, json=items) as response:
        assert all("published" in each for each in await response.json())


def to_stored(device: Device) -> Any:
    """Return the subscription of a device as the hub stores it."""
    sent = device.subscription()
    keys = sent["keys"]
    return web_push_subscription(sent["endpoint"], keys["p256dh"], keys["auth"], allow_private=True)


async def add_devices(
    cluster: Cluster, service: PushService, users: list[str], stores: Any
) -> None:
    """Store one device for each user."""
    for first in range(0, len(users), 100):
        await asyncio.gather(
            *(
                stores.put(user, to_stored(service.add_device(user)))
                for user in users[first : first + 100]
            )
        )


@pytest.mark.timeout(400)
async def test_half_of_the_users_are_connected() -> None:
    """Exactly the users without a connection are pushed, once each; a worker that is killed in the
    middle costs nothing but a few repeated messages.
    """
    users = [f"u{n}" for n in range(USERS)]
    async with (
        AsyncExitStack() as stack,
        open_push_service() as service,
        push_cluster(AFTER_SECONDS=10.0, TIMEOUT_SECONDS=10.0) as cluster,
        open_client(cluster._env["HUB_REDIS__URL"], timeout_seconds=10) as client,
    ):
        backend = redis_backend(client)
        workers = [await cluster.start_ready_worker() for _ in range(2)]
        await add_devices(cluster, service, users, backend.push_subscriptions)
        readers = [await connect(cluster, user, stack) for user in users[::2]]
        accepted, is_half, is_all = Counter[str](), asyncio.Event(), asyncio.Event()

        def count(device: Device) -> None:
            accepted[device.name] += 1
            if len(accepted) == USERS // 4:
                is_half.set()
            if len(accepted) == USERS // 2:
                is_all.set()

        service.on_message = count
        await publish(cluster, users)
        async with asyncio.timeout(200):
            await asyncio.gather(*readers)
            await is_half.wait()
            workers[0].kill()
            await is_all.wait()
            while (await backend.deliveries.counts(PUSH_QUEUE)).waiting:
                await asyncio.sleep(0.1)
        counts = await backend.deliveries.counts(PUSH_QUEUE)
    assert set(accepted) == set(users[1::2])
    repeated = [user for user, times in accepted.items() if times > 1]
    assert len(repeated) <= 64, len(repeated)  # what the killed worker was sending
    assert max(accepted.values()) <= 2
    assert (counts.dead, counts.dropped) == (0, 0)
    assert all(service.devices[user].messages[0]["title"] == user for user in accepted)


_PAGE = """<!doctype html><title>page</title><script type="module">
import { connect } from "/hub.js";
window.hub = connect({ user: "alice", store: null, transport: "poll" });
</script>"""

_PAGE_ELSEWHERE = """<!doctype html><title>page</title><script type="module">
import { connect } from "HUB/hub.js";
window.hub = connect({ url: "HUB", user: "alice", store: null, transport: "poll" });
</script>"""


class Browser:
    """A page with its service worker. origin: that of the page. scope: that of the worker."""

    def __init__(self, context: BrowserContext, page: Page, origin: str, scope: str) -> None:
        self.context, self.page = context, page
        self.origin, self.scope = origin, scope
        self.registrations: dict[str, str] = {}  # by scope: the id of the registration
        self._session: Any = None
        self._message: dict[str, str] = {}  # the newest one

    async def enable(self, options: str = "") -> str:
        """Call hub.push.enable(options), and return the id of the subscription."""
        self._session = await self.context.new_cdp_session(self.page)
        self._session.on("ServiceWorker.workerRegistrationUpdated", self._on_registrations)
        await self._session.send("ServiceWorker.enable")
        identifier: str = await self.page.evaluate(f"hub.push.enable({options})")
        return identifier

    async def error(self, call: str) -> list[Any]:
        """Return the code and the message of the error of a call."""
        result: list[Any] = await self.page.evaluate(
            f"{call}.then(() => null, (error) => [error.code, error.message])"
        )
        return result

    def _on_registrations(self, event: dict[str, Any]) -> None:
        for each in event["registrations"]:
            self.registrations[each["scopeURL"]] = each["registrationId"]

    async def push(self, data: Any) -> None:
        """Deliver a push message to the service worker."""
        scope = self.origin + self.scope
        await until(lambda: scope in self.registrations)  # the browser reports it after enable()
        self._message = {
            "origin": self.origin,
            "registrationId": self.registrations[scope],
            "data": data if isinstance(data, str) else json.dumps(data),
        }
        await self._deliver()

    async def _deliver(self) -> None:
        await self._session.send("ServiceWorker.deliverPushMessage", self._message)

    async def notifications(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many notifications are shown, and return them.

        A message whose worker does not start in time is lost in DevTools, while a push service
        delivers it again.
        """
        script = """async (scope) => {
          const registration = await navigator.serviceWorker.getRegistration(scope);
          return (await registration.getNotifications()).map(
            ({ title, body, icon, tag, data }) => ({ title, body, icon, tag, data }));
        }"""
        async with asyncio.timeout(90):
            for looks in itertools.count(1):
                shown: list[dict[str, Any]] = await self.page.evaluate(script, self.scope)
                if len(shown) == count:
                    return shown
                if len(shown) < count and looks % 200 == 0:
                    await self._deliver()
                await asyncio.sleep(0.05)
        raise AssertionError("the loop ends only with a return or a timeout")

    async def click(self, notification: int) -> Any:
        """Click on a notification. Return what the worker did: what it focused or opened."""
        await until(lambda: bool(self.context.service_workers))
        worker = self.context.service_workers[0]
        return await worker.evaluate(
            """async (number) => {
              const notification = (await self.registration.getNotifications())[number];
              const calls = [];
              // Only a real click may focus and open windows.
              WindowClient.prototype.focus = async function () { calls.push(["focus", this.url]); };
              self.clients.openWindow = async (url) => { calls.push(["open", url]); };
              const event = new Event("notificationclick");
              let work;
              event.notification = notification;
              event.waitUntil = (promise) => { work = promise; };
              self.dispatchEvent(event);
              await work;
              return calls;
            }""",
            notification,
        )


@asynccontextmanager
async def open_browser(
    cluster: Cluster,
    *,
    permission: str = "granted",
    origin: str | None = None,
    scope: str = "/hub-push/",
) -> AsyncIterator[Browser]:
    """Open a page in Chromium. origin: None means that of the hub. scope: that of the worker."""
    device = Device("phone", "https://push.example.com/phone")
    async with open_chromium(whole=True) as browser:
        context = await browser.new_context()
        context.set_default_timeout(90_000)  # the first page takes long on a busy machine
        if permission == "granted":
            await context.grant_permissions(["notifications"])
        await context.add_init_script(fake_push_service(device))
        page = await context.new_page()

        async def blank(route: Any) -> None:
            await route.fulfill(content_type="text/html", body=_PAGE)

        if origin is None:
            await page.route("**/page*", blank)
        at = origin or cluster.url
        await page.goto(f"{at}/page")
        await page.wait_for_function("window.hub")
        yield Browser(context, page, at, scope)


async def stored(cluster: Cluster, user: str) -> list[str]:
    """Return the endpoints of a user's devices."""
    async with open_client(cluster._env["HUB_REDIS__URL"], timeout_seconds=10) as client:
        devices = await redis_backend(client).push_subscriptions.list(user)
    return [each.endpoint for each in devices]


@pytest.mark.timeout(300)
async def test_service_worker() -> None:
    """A page subscribes, the worker shows what is pushed, a click opens it, and the page
    unsubscribes.
    """
    async with push_cluster() as cluster, open_browser(cluster) as browser:
        page = browser.page
        assert await page.evaluate("hub.push.state()") == "off"
        first = await browser.enable()
        assert await page.evaluate("hub.push.state()") == "on"
        assert await page.evaluate("hub.push.enable()") == first
        assert await stored(cluster, "alice") == ["https://push.example.com/phone"]
        key = await page.evaluate(
            "navigator.serviceWorker.getRegistration('/hub-push/')"
            ".then((each) => each.pushManager.getSubscription())"
            ".then((each) => [...new Uint8Array(each.options.applicationServerKey)])"
        )
        assert encode_base64url(bytes(key)) == KEYS.public_key

        await browser.push(
            {"id": "p1", "title": "T", "body": "B", "url": "/page", "icon": "/i.png"}
        )
        (shown,) = await browser.notifications(1)
        expected = {"id": "p1", "url": "/page"}
        assert shown == {
            "title": "T",
            "body": "B",
            "icon": f"{cluster.url}/i.png",
            "tag": "p1",
            "data": {"hub": expected},
        }
        # The same push again, and a later one with the same tag, replace it.
        await browser.push({"id": "p1", "title": "T2"})
        await browser.push({"id": "p2", "title": "T3", "tag": "p1"})
        async with asyncio.timeout(60):
            while (await browser.notifications(1))[0]["title"] != "T3":
                await asyncio.sleep(0.05)

        page_url = f"{cluster.url}/page"
        clicks = (
            ("/page", [["focus", page_url]]),
            (page_url, [["focus", page_url]]),
            (None, [["focus", page_url]]),
            ("/other", [["open", f"{cluster.url}/other"]]),
            ("https://elsewhere.example/x", [["open", "https://elsewhere.example/x"]]),
            ("javascript:alert(1)", [["focus", page_url]]),
            ("data:text/html,x", [["focus", page_url]]),
        )
        for n, (url, calls) in enumerate(clicks):
            # The first one replaces what is shown. The others have tags of their own: Chromium may
            # still remove the closed one, which it knows by its tag, when the next one is shown.
            payload = {"id": "c", "title": "C", "tag": "p1" if n == 0 else f"click{n}", "url": url}
            await browser.push(payload)
            async with asyncio.timeout(60):
                while (await browser.notifications(1))[0]["data"]["hub"]["url"] != url:
                    await asyncio.sleep(0.02)
            assert await browser.click(0) == calls, url
            await browser.notifications(0)

        for odd in ("no JSON", "", json.dumps({"title": 5}), "null"):
            await browser.push(odd)
        async with asyncio.timeout(60):
            assert (await browser.notifications(1))[0]["title"] == "127.0.0.1"

        await page.evaluate("hub.push.disable()")
        assert await page.evaluate("hub.push.state()") == "off"
        assert await stored(cluster, "alice") == []
        await page.evaluate("hub.push.disable()")


@pytest.mark.timeout(300)
async def test_worker_of_another_origin() -> None:
    """The worker of docs/guides/push.md, on the page's own origin, shows what the hub pushes."""
    (code,) = (
        block.code
        for block in find_blocks(DOCS / "guides" / "push.md")
        if block.code.startswith("importScripts")
    )
    site: dict[str, tuple[str, str]] = {}

    async def file(request: web.Request) -> web.Response:
        content_type, text = site.get(request.path, ("text/plain", ""))
        return web.Response(text=text, content_type=content_type)

    app = web.Application()
    app.router.add_get("/{name}", file)
    async with listen(app, ListenAddress("127.0.0.1", 0, "port"), cancel_handlers=True) as port:
        origin = f"http://127.0.0.1:{port}"
        async with push_cluster(origin=origin) as cluster, AsyncExitStack() as stack:
            site["/page"] = ("text/html", _PAGE_ELSEWHERE.replace("HUB", cluster.url))
            worker = code.replace("https://hub.example.com", cluster.url)
            site["/push-worker.js"] = ("text/javascript", worker)
            browser = await stack.enter_async_context(
                open_browser(cluster, origin=origin, scope="/")
            )
            page = browser.page
            assert (await browser.error("hub.push.enable()"))[0] == "push_worker"
            options = '{ worker: "/push-worker.js" }'
            await browser.enable(options)
            assert await stored(cluster, "alice") == ["https://push.example.com/phone"]
            assert await page.evaluate(f"hub.push.state({options})") == "on"
            await browser.push({"id": "p1", "title": "T", "url": "/page"})
            (shown,) = await browser.notifications(1)
            assert shown["title"] == "T"
            assert await browser.click(0) == [["focus", f"{origin}/page"]]
            await page.evaluate(f"hub.push.disable({options})")
            assert await page.evaluate(f"hub.push.state({options})") == "off"
            assert await stored(cluster, "alice") == []


@pytest.mark.timeout(300)
async def test_errors_of_browsers() -> None:
    """Each reason why a browser has no notifications is one error with a code."""
    async with push_cluster() as cluster, open_browser(cluster, permission="denied") as browser:
        # Headless Chromium denies what was not granted.
        code, message = await browser.error("hub.push.enable()")
        assert code == "push_denied"
        assert "blocked" in message
        assert await browser.page.evaluate("hub.push.state()") == "denied"
        await browser.page.evaluate("Notification.requestPermission = async () => 'default'")
        assert (await browser.error("hub.push.enable()"))[0] == "push_dismissed"
        await browser.page.evaluate("Notification.requestPermission = async () => 'granted'")
        await browser.page.evaluate("window.pushFails = true")
        code, message = await browser.error("hub.push.enable()")
        assert (code, "no push service" in message) == ("push_failed", True)
        call = "hub.push.enable({ worker: '/missing.js' })"
        assert (await browser.error(call))[0] == "push_worker"
        await browser.page.evaluate("delete window.PushManager")
        code, message = await browser.error("hub.push.enable()")
        assert (code, "home screen" in message) == ("push_unsupported", True)
        assert await browser.page.evaluate("hub.push.state()") == "unsupported"
        await browser.page.evaluate("hub.push.disable()")
