"""The clients in other languages that the pages of docs/clients/ describe, and their versions."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from typing import Final, Literal

from tests.languages.toolchains import EXAMPLES

Language = Literal["java", "go", "rust", "node"]
_TITLES: Final = {"java": "Java", "go": "Go", "rust": "Rust", "node": "Node.js"}


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client. part: the first argument of its program. package: its name in the project file.

    notes: what a user of it must know, for docs/clients/tested.md.
    """

    name: str
    language: Language
    part: str
    package: str
    notes: str = ""

    @property
    def id(self) -> str:
        return f"{self.language}-{self.part}"

    @property
    def page(self) -> str:
        """Return the name of its page in docs/clients/."""
        return "grpc.md" if self.part == "grpc" else f"{self.language}.md"

    @property
    def title(self) -> str:
        """Return the name of its language, and gRPC."""
        return _TITLES[self.language] + (", gRPC" if self.part == "grpc" else "")

    def version(self) -> str:
        """Return the version that the project file of the examples has."""
        return _VERSIONS[self.language](self.package)


def _java_version(package: str) -> str:
    text = (EXAMPLES / "java" / "pom.xml").read_text()
    match = re.search(rf"<artifactId>{package}</artifactId>\s*<version>([^<]*)</version>", text)
    assert match, package
    if match[1].startswith("${"):
        match = re.search(rf"<{match[1][2:-1]}>([^<]*)</", text)
        assert match, package
    return match[1]


def _go_version(package: str) -> str:
    text = (EXAMPLES / "go" / "go.mod").read_text()
    match = re.search(rf"^\s*{re.escape(package)} v(\S+)", text, re.MULTILINE)
    assert match, package
    return match[1]


def _rust_version(package: str) -> str:
    lock = tomllib.loads((EXAMPLES / "rust" / "Cargo.lock").read_text())
    (version,) = (each["version"] for each in lock["package"] if each["name"] == package)
    return str(version)


def _node_version(package: str) -> str:
    lock = json.loads((EXAMPLES / "grpc-node" / "package-lock.json").read_text())
    return str(lock["packages"][f"node_modules/{package}"]["version"])


_VERSIONS: Final = {
    "java": _java_version,
    "go": _go_version,
    "rust": _rust_version,
    "node": _node_version,
}

STREAM_CLIENTS: Final = (
    Client(
        name="okhttp-sse",
        language="java",
        part="okhttp",
        package="okhttp-sse",
        notes="does not reconnect; gives up after 10 s without a byte",
    ),
    Client(
        name="LaunchDarkly's okhttp-eventsource",
        language="java",
        part="launchdarkly",
        package="okhttp-eventsource",
        notes="gives up after 5 s without a byte: `?heartbeat=4`",
    ),
    Client(
        name="Spring's WebClient (of Spring Boot)",
        language="java",
        part="webclient",
        package="spring-boot-starter-parent",
        notes="does not reconnect; gives half an event at the end of a stream; "
        "`?heartbeat_event=true` with `Flux.timeout`",
    ),
    Client(
        name="tmaxmax/go-sse",
        language="go",
        part="gosse",
        package="github.com/tmaxmax/go-sse",
        notes="takes each status but 200 for final; refuses events above 64 KiB by default",
    ),
    Client(
        name="LaunchDarkly's eventsource",
        language="go",
        part="launchdarkly",
        package="github.com/launchdarkly/eventsource",
        notes="repeats 401 and 404 for ever, and hangs when nobody reads `Errors`",
    ),
    Client(
        name="eventsource-client",
        language="rust",
        part="follow",
        package="eventsource-client",
        notes="forgets the cursor on a connection without an `id:`: pass it to each stream",
    ),
)
CHAT_CLIENTS: Final = (
    Client(
        name="openai-java",
        language="java",
        part="openai",
        package="openai-java",
        notes="raises the error",
    ),
    Client(
        name="LangChain4j",
        language="java",
        part="langchain",
        package="langchain4j-open-ai",
        notes="`onError` has the broken connection",
    ),
    Client(
        name="Spring AI",
        language="java",
        part="spring",
        package="spring-ai-bom",
        notes="the `Flux` ends with the error",
    ),
    Client(
        name="openai-go, chat completions",
        language="go",
        part="chat",
        package="github.com/openai/openai-go/v3",
        notes="`stream.Err()` has the error",
    ),
    Client(
        name="async-openai",
        language="rust",
        part="openai",
        package="async-openai",
        notes="has no type for the error: its text is inside another one",
    ),
    Client(
        name="rig",
        language="rust",
        part="rig",
        package="rig-core",
        notes="the last item of the stream is the error",
    ),
)
OPENAI_GO_RESPONSES: Final = Client(
    name="openai-go, Responses",
    language="go",
    part="response",
    package="github.com/openai/openai-go/v3",
    notes="resumes by `GetStreaming` with `StartingAfter`",
)
GRPC_CLIENTS: Final = (
    Client(
        name="grpc-go",
        language="go",
        part="grpc",
        package="google.golang.org/grpc",
        notes="stubs by `protoc-gen-go`",
    ),
    Client(
        name="grpc-java",
        language="java",
        part="grpc",
        package="grpc-stub",
        notes="stubs by `protoc-gen-grpc-java`",
    ),
    Client(
        name="`@grpc/grpc-js`",
        language="node",
        part="grpc",
        package="@grpc/grpc-js",
        notes="stubs by `@grpc/proto-loader`",
    ),
)
ALL_CLIENTS: Final = (*STREAM_CLIENTS, *CHAT_CLIENTS, OPENAI_GO_RESPONSES, *GRPC_CLIENTS)
