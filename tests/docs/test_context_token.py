"""The programs of docs/guides/upstreams.md that verify the header `Hub-Context`."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import jwt
import pytest

from hub.core.generation_context import GenerationContext
from hub.upstreams.http.context_token import HEADER, LIFETIME_SECONDS, ContextSigner
from tests.docs.snippets import DOCS, find_blocks

KEY: Final = "k" * 64
PAGE: Final = DOCS / "guides" / "upstreams.md"
CONTEXT: Final = GenerationContext(
    user="o'hara@例え.jp",
    generation="g00abc",
    attempt=2,
    chat="c/1 é",
    metadata={"page": "日本", "n": [1, None, True]},
)


def code(language: str) -> str:
    """Return the program of the page in a language."""
    (program,) = (
        block.code
        for block in find_blocks(PAGE)
        if block.language == language and block.test == f"tests/docs/{Path(__file__).name}"
    )
    return program


def sign(key: str = KEY, upstream: str = "agent", seconds: float = 0) -> str:
    signer = ContextSigner(key, upstream, lambda: time.time() + seconds)
    return signer.build_headers(CONTEXT)[HEADER]


def changed(token: str) -> str:
    """Return a token with the claims of another user below the same signature."""
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    other = json.dumps({**claims, "user": "bob"}).encode()
    return f"{head}.{base64.urlsafe_b64encode(other).decode().rstrip('=')}.{signature}"


def users_token(**claims: Any) -> str:
    """Return a token that is signed with the same key and is no context."""
    now = int(time.time())
    context = {"iss": "hub", "aud": "upstream:agent", "iat": now, "exp": now + 60, "sub": "bob"}
    return jwt.encode({**context, "user": "bob", **claims}, KEY, algorithm="HS256")


def tokens() -> dict[str, str]:
    """Return tokens by what they are; they expire."""
    return {
        "good": sign(),
        "expired": sign(seconds=-LIFETIME_SECONDS - 30),
        "another key": sign(key="x" * 64),
        "another upstream": sign(upstream="other"),
        "changed": changed(sign()),
        "another type": users_token(),
        "no signature": sign().rpartition(".")[0] + ".",
        "two parts": sign().rpartition(".")[0],
        "algorithm none": jwt.encode(
            jwt.decode(sign(), options={"verify_signature": False}),
            "",
            algorithm="none",
            headers={"typ": "hub-context+jwt"},
        ),
        "empty": "",
        "no token": "a.b.c",
    }


def check(results: dict[str, Any]) -> None:
    """Check who was accepted, and what an accepted token says."""
    assert {name for name, claims in results.items() if claims} == {"good"}
    claims = results["good"]
    assert claims.pop("exp") - claims.pop("iat") == LIFETIME_SECONDS
    assert claims == {
        "iss": "hub",
        "aud": "upstream:agent",
        "user": "o'hara@例え.jp",
        "generation": "g00abc",
        "attempt": 2,
        "chat": "c/1 é",
        "metadata": {"page": "日本", "n": [1, None, True]},
    }


def test_python() -> None:
    """It accepts the hub's token for this endpoint, and nothing else."""
    names: dict[str, Any] = {}
    exec(code("python"), names)  # noqa: S102 - the document is ours

    def read(token: str) -> Any:
        try:
            return names["read_context"](token, KEY, "agent")
        except jwt.InvalidTokenError:
            return None

    check({name: read(token) for name, token in tokens().items()})


def test_node(tmp_path: Path) -> None:
    """The same."""
    program = tmp_path / "program.mjs"
    program.write_text(
        f"{code('js')}\n"
        "const results = {};\n"
        "for (const [name, token] of Object.entries(JSON.parse(process.argv[2]))) {\n"
        f"  try {{ results[name] = readContext(token, {json.dumps(KEY)}, 'agent'); }}\n"
        "  catch (error) { results[name] = null; }\n"
        "}\n"
        "console.log(JSON.stringify(results));\n"
    )
    done = subprocess.run(
        ["node", program, json.dumps(tokens())],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    check(json.loads(done.stdout))


@pytest.mark.parametrize("language", ["python", "js"])
def test_program_is_short(language: str) -> None:
    """A reader copies it whole."""
    assert len(code(language).splitlines()) < 30
