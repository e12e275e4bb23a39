"""Type the words of users into the search of the site: the right page is among the first three."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, expect

# What a user types, and the page that answers it. Where two pages answer it, one is enough.
SEARCHES = {
    "stream stops after 60 seconds": "guides/troubleshooting",
    "401 with Auth0 token": "guides/troubleshooting",
    "Auth0": "guides/authentication",
    "use with FastAPI": "guides/backends",
    "how do I stop an answer": "guides/chat",
    "stop answer": "guides/chat",
    "Windows": "start/install guides/troubleshooting",
    "CORS": "guides/authentication guides/troubleshooting",
    "CORS error": "guides/troubleshooting",
    "LangChain": "clients/openai-sdk",
    "troubleshooting": "guides/troubleshooting",
    "nginx buffering": "guides/proxies",
    "token expired": "guides/authentication guides/troubleshooting",
    "second tab": "guides/chat",
    "reload loses answer": "guides/chat",
    "Redis cluster": "guides/deploy start/install",
    "rate limit": "reference/errors",
    "docker compose": "guides/deploy",
    "kubernetes": "guides/deploy",
    "regenerate answer": "guides/chat",
    "python client": "clients/python",
    "react": "clients/javascript clients/ai-sdk",
    "EventSource headers": "clients/javascript guides/troubleshooting",
    "webhook": "guides/webhooks",
    "presence": "reference/events",
    "who is online": "guides/notifications",
    "publish to everyone": "guides/notifications",
    "migrate from socket.io": "compare/migrate",
    "migrate from pusher": "compare/pusher",
    "memory per connection": "concepts/performance guides/scaling",
    "metrics prometheus": "reference/metrics",
    "license": "index",
    "OpenAI SDK base_url": "clients/openai-sdk",
    "Anthropic SDK": "clients/anthropic-sdk",
    "Claude Code": "clients/anthropic-sdk",
    "Ollama": "guides/upstreams",
    "JavaScript API": "reference/javascript",
    "install": "start/install",
    "Django": "guides/backends",
    "upgrade": "guides/upgrade",
    "WebSocket": "reference/transports",
    "streaming not working": "guides/troubleshooting",
    "spring boot": "guides/upstreams compare/migrate",
    "php": "guides/backends",
    "android": "reference/transports",
    "next.js": "clients/ai-sdk",
    "vue": "clients/javascript",
    "cloudflare": "guides/proxies guides/troubleshooting",
    "keycloak": "guides/authentication",
    "bad gateway": "guides/proxies",
    "zero downtime": "guides/deploy guides/upgrade",
    "benchmark": "concepts/performance",
    "encryption": "concepts/security",
    "function calling": "guides/upstreams",
    "langgraph": "clients/openai-sdk",
    "typing indicator": "guides/notifications",
    "unread notifications": "guides/notifications",
    "chat history": "guides/chat",
    "how many connections": "guides/scaling",
    "login": "start/tutorial",
    "stop button": "guides/chat",
    "two nodes": "guides/deploy",
    "nginx": "guides/proxies",
    "publish to several nodes": "guides/deploy",
    "lost events": "clients/python clients/javascript concepts/delivery",
}


@pytest.mark.asyncio(loop_scope="module")  # as the browser fixture
async def test_search_finds_the_right_page(site_url: str, chromium: Browser) -> None:
    """Each of the searches shows the right page as one of the first three results."""
    page = await chromium.new_page()
    await page.goto(site_url)
    await page.get_by_role("button", name="Search").click()
    box = page.get_by_role("combobox", name="Search")
    results = page.get_by_role("option")
    wrong = {}
    for words, expected in SEARCHES.items():
        await box.fill("")
        await expect(results).to_have_count(0)
        await box.fill(words)
        try:
            await expect(results).not_to_have_count(0)
        except AssertionError:
            wrong[words] = ["no result"]
            continue
        pages = [
            re.sub(rf"^{re.escape(site_url)}|\.html.*", "", address)
            for address in await results.evaluate_all("links => links.map((link) => link.href)")
        ]
        if not set(expected.split()) & set(pages[:3]):
            wrong[words] = pages
    await page.close()
    assert wrong == {}
