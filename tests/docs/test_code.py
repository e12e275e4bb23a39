"""The Python and JavaScript of the documents: run, and then used as their page says."""

from __future__ import annotations

import asyncio
import re
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.docs.conftest import Site
from tests.docs.snippets import DOCS, ROOT, run_python, to_run

pytestmark = pytest.mark.asyncio(loop_scope="module")  # the browser's


async def stored(site: Site, user: str) -> list[tuple[str, Any]]:
    """What the log holds of the user's channel."""
    answer = await asyncio.to_thread(
        site.dev.call, "GET", f"/users/{user}/events?limit=1000", internal=True
    )
    return [(event["event"], event["data"]) for event in answer["events"]]


async def run_page(page: Path, site: Site, part: str = "") -> dict[str, Any]:
    """Runs the page's blocks, or those under one heading, in order; the names they made."""
    names: dict[str, Any] = {}
    for block in to_run(page, "python"):
        if part in ("", block.part):
            await run_python(site.places.put_into(block.code), names)
    return names


async def test_readme_asks(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """In five lines: the whole answer is printed."""
    await run_page(ROOT / "README.md", site, "An answer, token by token")
    assert "simulated" in capsys.readouterr().out


async def test_readme_publishes(site: Site) -> None:
    """By requests; sent twice, it arrives once."""
    before = len(await stored(site, "alice"))
    for _ in range(2):
        await run_page(ROOT / "README.md", site, "Publish from a backend")
    ready = {"title": "Your export is ready", "url": "/exports/7"}
    assert (await stored(site, "alice"))[before:] == [("export.ready", ready)]


@contextmanager
def django() -> Iterator[None]:
    """A Django project with a database in memory."""
    import django
    from django.conf import settings

    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        SECRET_KEY="of the test",
        HUB_INTERNAL_URL="",
        HUB_KEY=None,
        HUB_HMAC_SECRET="k" * 40,
    )
    django.setup()
    yield


async def test_django(site: Site) -> None:
    """The view publishes after its transaction, and not one that is rolled back; the cookie is a
    token.
    """
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
    assert await stored(site, "dora") == [("order.shipped", {"order": 2})]
    cookie = response.cookies["hub_token"]
    assert cookie["httponly"]
    assert jwt.decode(cookie.value, "k" * 40, algorithms=["HS256"])["sub"] == "dora"
    names["hub"].close()


async def test_fastapi(site: Site) -> None:
    """The route's background task publishes, with the application's client."""
    from fastapi import BackgroundTasks

    names = await run_page(DOCS / "guides" / "backends.md", site, "FastAPI")
    tasks = BackgroundTasks()
    async with names["lifespan"](names["app"]):
        answer = await names["ship_order"]("fred", 3, tasks)
        assert await stored(site, "fred") == []
        await tasks()
    assert answer == {"order": 3, "status": "shipped"}
    assert await stored(site, "fred") == [("order.shipped", {"order": 3})]


async def test_celery(site: Site) -> None:
    """The task tells its end once, though it runs twice; progress is not kept."""
    names = await run_page(DOCS / "guides" / "backends.md", site, "Celery")
    for _ in range(2):
        done = await asyncio.to_thread(names["export"].apply, args=["cleo", 2], task_id="job-1")
        assert done.successful()
    ready = {"job": "job-1", "url": "/exports/job-1"}
    assert await stored(site, "cleo") == [("export.ready", ready)]
    names["hub"].close()


async def test_notifications(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """The cookie that the page makes is a user's token."""
    import jwt

    await run_page(DOCS / "guides" / "notifications.md", site)
    claims = jwt.decode(capsys.readouterr().out.strip(), options={"verify_signature": False})
    assert (claims["sub"], claims["topics"]) == ("alice", ["news", "team.alice.*"])


async def test_chat(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer is printed."""
    await run_page(DOCS / "guides" / "chat.md", site)
    assert "Rayleigh" in capsys.readouterr().out


async def test_javascript(site: Site, chromium: Browser) -> None:
    """Each event that a page listens to is published and comes to its `show` or `append`; the
    chat's answer is shown, stopped, and asked again to its end.
    """
    page = await chromium.new_page()
    await page.goto(f"{site.dev.url}/nothing-here")  # 404: the same origin, and no scripts
    for document in (ROOT / "README.md", DOCS / "quickstart.md", DOCS / "guides/notifications.md"):
        code = "\n".join(block.code for block in to_run(document, "js"))
        names = re.findall(r'addEventListener\("([a-z]+\.?[a-z]+)"', code)
        await page.evaluate(
            "async () => { window.said = [];"
            " const show = (what) => said.push(['show', what]);"
            " const append = (what) => said.push(['append', what]);"
            f"{code}; window.stream = stream;"
            " await new Promise((opened) => stream.addEventListener('hub.open', opened)); }"
        )
        for name in names:
            if name.startswith("generation."):
                question = {"prompt": "why is the sky blue?"}
                await asyncio.to_thread(site.dev.call, "POST", "/generations?user=alice", question)
            elif not name.startswith("hub."):
                to = {"topic": "news"} if name == "headline" else {"user": "alice"}
                body = {"to": to, "event": name, "data": {"order": name}}
                await asyncio.to_thread(site.dev.call, "POST", "/publish", body, internal=True)
        listened = [name for name in names if not name.startswith("hub.")]
        shows = sum(not name.startswith("generation.") for name in listened)
        await page.wait_for_function(
            "([shows, appends]) => said.filter(([how]) => how == 'show').length == shows"
            " && said.some(([how]) => how == 'append') == appends",
            arg=[shows, shows < len(listened)],
        )
        await page.evaluate("stream.close()")

    code = "\n".join(block.code for block in to_run(DOCS / "guides/chat.md", "js"))
    await page.evaluate(
        "async () => { window.said = [];"
        " const show = (what) => said.push(what), append = (what) => said.push(what);"
        f"{code} }}"
    )
    await page.wait_for_function("said.includes('stopped by alice') && said.includes('done: stop')")


async def test_javascript_of_the_client(site: Site, chromium: Browser) -> None:
    """hub.js as its page shows it: a notification is shown, and an answer grows until its end."""
    code = "\n".join(block.code for block in to_run(DOCS / "clients-javascript.md", "js"))
    imports = 'import { connect } from "https://hub.example/hub.js";'
    assert imports in code
    code = code.replace(imports, 'const { connect } = await import("/hub.js");')
    code = code.replace('"https://hub.example"', "location.origin")
    page = await chromium.new_page()
    await page.route("**/hub-token", lambda route: route.fulfill(body=""))  # hub dev wants none
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
