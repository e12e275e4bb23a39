"""A shop that notifies its customers: a FastAPI backend that publishes to the hub.

    HUB_PUBLIC__ALLOWED_ORIGINS='["http://localhost:8000"]' scripts/dev
    python3 -m venv shop && shop/bin/pip install ./clients/python fastapi uvicorn pyjwt
    shop/bin/uvicorn --app-dir examples fastapi_backend:app --port 8000

Open http://localhost:8000/?user=alice in two windows and press the button in one. In production,
set HUB_KEY (an API key) and HUB_SECRET (auth.hmac_secret), and take `user` from your login.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import jwt
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import HTMLResponse

from hub_client import HubClient

HUB = os.environ.get("HUB_URL_OF_BROWSERS", "http://localhost:8080")
INTERNAL = os.environ.get("HUB_URL_OF_BACKENDS", "http://127.0.0.1:8081")
SECRET = os.environ.get("HUB_SECRET", "only for development, where nothing checks the signature")
TOKEN_SECONDS = 3600

PAGE = """<!doctype html><title>Shop</title>
<button>Ship order 981</button> <ul></ul>
<script>
  const show = (text) => document.querySelector("ul").append(
    Object.assign(document.createElement("li"), { textContent: text }));
  document.querySelector("button").onclick = () =>
    fetch("/users/USER/orders/981/ship", { method: "POST" });
  const stream = new EventSource("HUB/sse/connect/USER", { withCredentials: true });
  stream.addEventListener("hub.open", () => show("connected"));
  stream.addEventListener("order.shipped", (e) =>
    show(`order ${JSON.parse(e.data).order} is on its way`));
  stream.addEventListener("hub.reset", () => location.reload());
</script>"""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep one client open while the application runs."""
    async with HubClient(
        HUB, internal_url=INTERNAL, key=os.environ.get("HUB_KEY")
    ) as app.state.hub:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def page(user: str) -> HTMLResponse:
    """Return the page, and the cookie that names the user to the hub."""
    token = jwt.encode(
        {"sub": user, "exp": int(time.time()) + TOKEN_SECONDS}, SECRET, algorithm="HS256"
    )
    response = HTMLResponse(PAGE.replace("USER", user).replace("HUB", HUB))
    response.set_cookie("hub_token", token, max_age=TOKEN_SECONDS, httponly=True, samesite="strict")
    return response


@app.post("/users/{user}/orders/{order}/ship")
async def ship(user: str, order: int, tasks: BackgroundTasks) -> dict[str, object]:
    """Change the order, respond, and then notify the user.

    The idempotency key makes sure that a repeated request notifies the user only once.
    """
    tasks.add_task(
        app.state.hub.publish,
        {"user": user},
        "order.shipped",
        {"order": order},
        idempotency_key=f"order-{order}-shipped",
    )
    return {"order": order, "status": "shipped"}
