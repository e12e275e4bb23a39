"""Run the Python and JavaScript blocks of the documents, and use their functions."""

from __future__ import annotations

import asyncio
import gc
import re
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.async_api import Browser

from hub.api.tokens import FixedKeys
from hub.api.verifying_keys import public_key, secret_key
from hub.http.callback import CallbackResponse
from tests.defaults import token_reader
from tests.docs.conftest import Site
from tests.docs.snippets import DOCS, ROOT, run_python, runnable_blocks

pytestmark = pytest.mark.asyncio(loop_scope="module")  # as the browser fixture


async def stored_events(site: Site, user: str) -> list[tuple[str, Any]]:
    """Return the name and data of each stored event of a user."""
    response = await asyncio.to_thread(
        site.dev.call, "GET", f"/users/{user}/events?limit=1000", internal=True
    )
    return [(event["event"], event["data"]) for event in response["events"]]


async def run_page(page: Path, site: Site, part: str = "") -> dict[str, Any]:
    """Run the blocks of a page, or those below one heading, in order; return their globals."""
    names: dict[str, Any] = {}
    for block in runnable_blocks(page, "python"):
        if part in ("", block.part):
            await run_python(site.substitutions.apply(block.code), names)
    return names


async def run_sdk_page(page: str, site: Site) -> None:
    """Run the blocks of a page whose clients are never closed, as in a program that ends."""
    names = await run_page(DOCS / "clients" / page, site)
    names.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # otherwise it appears in any later test
        gc.collect()


@pytest.mark.parametrize(
    ("page", "part"),
    [(ROOT / "README.md", "An answer, token by token"), (DOCS / "index.md", "Three snippets")],
)
async def test_first_example_generates(
    page: Path, part: str, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first example of the README and of the start page prints the whole answer."""
    await run_page(page, site, part)
    assert "simulated" in capsys.readouterr().out


async def test_readme_publishes(site: Site) -> None:
    """The request of the README is idempotent: sent twice, it stores one event."""
    before = len(await stored_events(site, "alice"))
    for _ in range(2):
        await run_page(ROOT / "README.md", site, "Publish from a backend")
    ready = {"title": "Your export is ready", "url": "/exports/7"}
    assert (await stored_events(site, "alice"))[before:] == [("export.ready", ready)]


@contextmanager
def django() -> Iterator[None]:
    """Set up a Django project with a database in memory."""
    import django
    from django.conf import settings

    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        SECRET_KEY="secret of the test",
        HUB_INTERNAL_URL="",
        HUB_KEY=None,
        HUB_HMAC_SECRET="k" * 40,
    )
    django.setup()
    yield


async def test_django(site: Site) -> None:
    """The view publishes when its transaction commits, not on rollback; the cookie has a token."""
    import jwt

    with django():
        from django.conf import settings
        from django.db import transaction
        from django.test import RequestFactory

        settings.HUB_INTERNAL_URL = site.dev.internal_url
        names = await run_page(DOCS / "guides" / "backends.md", site, "Django")
        request = RequestFactory().post("/orders/1/ship")
        request.user = types.SimpleNamespace(get_username=lambda: "dora")

        def fails() -> None:
            with transaction.atomic():
                names["ship"](request, 1)
                raise ValueError("rolled back")

        def ship() -> Any:
            with pytest.raises(ValueError, match="rolled back"):
                fails()
            return names["ship"](request, 2)

        response = names["with_hub_token"](request, await asyncio.to_thread(ship))
    assert await stored_events(site, "dora") == [("order.shipped", {"order": 2})]
    cookie = response.cookies["hub_token"]
    assert cookie["httponly"]
    assert jwt.decode(cookie.value, "k" * 40, algorithms=["HS256"])["sub"] == "dora"
    names["hub"].close()


async def test_external_producers(site: Site) -> None:
    """The programs of the guide write two whole answers of alice."""
    await run_page(DOCS / "guides" / "external-producers.md", site, "In Python")
    path = "/generations?user=alice&status=done&limit=2"
    listed = (await asyncio.to_thread(site.dev.call, "GET", path))["generations"]
    answers = [
        await asyncio.to_thread(
            site.dev.call, "GET", f"/generations/{each['generation']}?user=alice"
        )
        for each in listed
    ]
    texts = {answer["text"] for answer in answers}
    assert texts == {"Refunds take five days."}


async def test_fastapi(site: Site) -> None:
    """The background task of the route publishes with the client of the application."""
    from fastapi import BackgroundTasks

    names = await run_page(DOCS / "guides" / "backends.md", site, "FastAPI")
    tasks = BackgroundTasks()
    async with names["lifespan"](names["app"]):
        response = await names["ship_order"]("fred", 3, tasks)
        assert await stored_events(site, "fred") == []
        await tasks()
    assert response == {"order": 3, "status": "shipped"}
    assert await stored_events(site, "fred") == [("order.shipped", {"order": 3})]


async def test_celery(site: Site) -> None:
    """A task that runs twice publishes its end once; progress events are not stored."""
    names = await run_page(DOCS / "guides" / "backends.md", site, "Celery")
    for _ in range(2):
        result = await asyncio.to_thread(names["export"].apply, args=["cleo", 2], task_id="job-1")
        assert result.successful()
    ready = {"job": "job-1", "url": "/exports/job-1"}
    assert await stored_events(site, "cleo") == [("export.ready", ready)]
    names["hub"].close()


async def test_requests(site: Site) -> None:
    """The function of the guide publishes once, however often it is called."""
    names = await run_page(DOCS / "guides" / "backends.md", site, "Python with requests")
    for _ in range(2):
        await asyncio.to_thread(names["order_shipped"], "rita", 4)
    assert await stored_events(site, "rita") == [("order.shipped", {"order": 4})]
    names["session"].close()


async def test_authentication(site: Site) -> None:
    """The hub accepts the tokens of the guide; the callback names the user of a session."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from fastapi import Response

    names = await run_page(DOCS / "guides" / "authentication.md", site)
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private_pem = private_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    public_pem = (
        private_key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    secret = "k" * 40
    reader = token_reader([FixedKeys([secret_key(secret), public_key(public_pem)])])
    for token in (
        names["hub_token"]("alice", secret),
        names["hub_token_rs256"]("bob", private_pem),
    ):
        claims = await reader.read(token)
        assert (claims.user, claims.topics) in {("alice", ("news",)), ("bob", ("news",))}
    known, unknown = Response(), Response()
    identity = await names["who"](types.SimpleNamespace(cookies={"session": "s-1"}), known)
    assert (known.status_code, msgspec.convert(identity, CallbackResponse).user) == (200, "alice")
    await names["who"](types.SimpleNamespace(cookies={}), unknown)
    assert unknown.status_code == 401


async def test_notifications(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """The guide creates a valid user token for the cookie."""
    import jwt

    await run_page(DOCS / "guides" / "notifications.md", site)
    claims = jwt.decode(capsys.readouterr().out.strip(), options={"verify_signature": False})
    assert (claims["sub"], claims["topics"]) == ("alice", ["news", "team.alice.*"])


async def test_chat(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """The guide prints the answer."""
    await run_page(DOCS / "guides" / "chat.md", site)
    assert "Rayleigh" in capsys.readouterr().out


async def test_openai_sdk(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """OpenAI's SDK prints the answer of each API."""
    await run_sdk_page("openai-sdk.md", site)
    assert capsys.readouterr().out.count("Rayleigh") == 2


async def test_anthropic_sdk(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Anthropic's SDK prints the answer."""
    await run_sdk_page("anthropic-sdk.md", site)
    assert "Rayleigh" in capsys.readouterr().out


async def test_javascript(site: Site, chromium: Browser) -> None:
    """Each event that a page listens for reaches its `show` or `append` function.

    The chat page shows an answer, stops it, and shows a second one until its end.
    """
    page = await chromium.new_page()
    await page.goto(
        f"{site.dev.url}/nothing-here"
    )  # 404: a page of the same origin without scripts
    for document in (
        ROOT / "README.md",
        DOCS / "index.md",
        DOCS / "start/quickstart.md",
        DOCS / "guides/notifications.md",
    ):
        code = "\n".join(block.code for block in runnable_blocks(document, "js"))
        names = re.findall(r'addEventListener\("([a-z]+\.?[a-z]+)"', code)
        await page.evaluate(
            "async () => { window.calls = [];"
            " const show = (what) => calls.push(['show', what]);"
            " const append = (what) => calls.push(['append', what]);"
            f"{code}; window.stream = stream;"
            " await new Promise((opened) => stream.addEventListener('hub.open', opened)); }"
        )
        for name in names:
            if name.startswith("generation."):
                request = {"prompt": "why is the sky blue?"}
                await asyncio.to_thread(site.dev.call, "POST", "/generations?user=alice", request)
            elif not name.startswith("hub."):
                to = {"topic": "news"} if name == "headline" else {"user": "alice"}
                body = {"to": to, "event": name, "data": {"order": name}}
                await asyncio.to_thread(site.dev.call, "POST", "/publish", body, internal=True)
        listened = [name for name in names if not name.startswith("hub.")]
        shows = sum(not name.startswith("generation.") for name in listened)
        await page.wait_for_function(
            "([shows, appends]) => calls.filter(([how]) => how == 'show').length == shows"
            " && calls.some(([how]) => how == 'append') == appends",
            arg=[shows, shows < len(listened)],
        )
        await page.evaluate("stream.close()")

    code = "\n".join(block.code for block in runnable_blocks(DOCS / "guides/chat.md", "js"))
    imports = 'import { connect } from "/hub.js";'
    assert imports in code
    code = code.replace(imports, 'const { connect } = await import("/hub.js");')
    await page.evaluate(
        "async () => { window.calls = [];"
        " const show = (what) => calls.push(what), append = (what) => calls.push(what);"
        f"{code} }}"
    )
    await page.wait_for_function(
        "calls.includes('stopped by alice') && calls.includes('done: stop')"
    )


async def test_javascript_of_the_client(site: Site, chromium: Browser) -> None:
    """With the code of its page, hub.js shows a notification and an answer until its end."""
    code = "\n".join(block.code for block in runnable_blocks(DOCS / "clients/javascript.md", "js"))
    imports = 'import { connect } from "https://hub.example/hub.js";'
    assert imports in code
    code = code.replace(imports, 'const { connect } = await import("/hub.js");')
    code = code.replace('"https://hub.example"', "location.origin")
    page = await chromium.new_page()
    await page.route("**/hub-token", lambda route: route.fulfill(body=""))  # hub dev needs no token
    await page.goto(f"{site.dev.url}/nothing-here")
    await page.evaluate(
        "async () => { const shown = window.shown = [], states = window.states = [];"
        " const show = (title) => shown.push(title), badge = (state) => states.push(state);"
        " const stopButton = {}; const box = window.box = {};"
        f"{code} }}"
    )
    assert "Rayleigh" in await page.evaluate("box.textContent")
    await page.wait_for_function("states.includes('live')")
    await asyncio.to_thread(site.dev.publish, "alice", {"title": "from the page"})
    await page.wait_for_function("shown.includes('from the page')")
    await page.close()
