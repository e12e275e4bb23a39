"""Check the pages for other languages without a toolchain: their code, names and versions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from textwrap import dedent

import pytest

from hub.core.system_events import CONTROL_EVENTS, GENERATION_EVENTS
from hub.settings import load_settings
from tests.docs.snippets import DOCS, find_blocks
from tests.languages.clients import ALL_CLIENTS, Client
from tests.languages.toolchains import EXAMPLES, PROTO

PAGES = {name: DOCS / "clients" / f"{name}.md" for name in ("java", "go", "rust", "grpc")}
FOLDERS = ("java", "go", "rust", "grpc-node")
SOURCES = (".java", ".go", ".rs", ".mjs", ".xml")
CODE = ("go", "java", "js", "rust", "xml")
every_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


def programs() -> dict[Path, str]:
    """Return the sources of all programs."""
    return {
        file: file.read_text()
        for folder in FOLDERS
        for file in sorted((EXAMPLES / folder).rglob("*"))
        if file.suffix in SOURCES and "node_modules" not in file.parts
    }


def normalised(code: str) -> list[str]:
    """Return the lines of code without the indentation that all of them share."""
    return dedent(code.replace("\t", "    ")).strip("\n").split("\n")


def contains(text: str, part: list[str]) -> bool:
    """Return whether consecutive lines of a text, with one indentation more, are `part`."""
    lines = text.replace("\t", "    ").split("\n")
    return any(
        normalised("\n".join(lines[start : start + len(part)])) == part
        for start, line in enumerate(lines)
        if line.strip() == part[0].strip()
    )


@every_page
def test_code_is_that_of_the_programs(page: Path) -> None:
    """Each code block of a page is a part of a program that `scripts/test languages` runs."""
    texts = programs().values()
    blocks = [block for block in find_blocks(page) if block.language in CODE]
    assert blocks
    for block in blocks:
        assert any(contains(text, normalised(block.code)) for text in texts), block.location


def test_parts_are_found_only_where_they_are() -> None:
    """Code that differs in one character, or in the indentation of one line, is not found."""
    text = "a {\n\tb(1)\n\t\tc\n}\n"
    assert contains(text, normalised("b(1)\n    c"))
    assert contains(text, normalised(text))
    assert not contains(text, normalised("b(2)\n    c"))
    assert not contains(text, normalised("b(1)\nc"))


@every_page
def test_routes_exist(page: Path) -> None:
    """Each route that a page or its programs name exists, with its parameters."""
    documents = [json.loads(file.read_text()) for file in sorted(DOCS.glob("openapi-*.json"))]
    described = {path: item for each in documents for path, item in each["paths"].items()}
    paths = [re.sub(r"\{[^}]*\}", "[^/]+", path) for path in described]
    parameters = {each["name"] for item in described.values() for each in all_of(item)}
    text = page.read_text()
    routes = re.findall(
        r"(?<![\w.:/-])(/(?:sse|ws|poll|generations|publish|v1|users|tickets)\b[\w/{}.-]*)", text
    )
    for route in routes:
        known = any(re.fullmatch(f"(?:{path})", route.rstrip(".")) for path in paths)
        assert known or route in {"/v1", "/v1/"}, route
    for name in re.findall(r"[`?&](\w+)=\w*[\"`&]", text):
        assert name in parameters, name


def all_of(path: dict[str, object]) -> list[dict[str, str]]:
    """Return the parameters of a path and of its operations."""
    operations = [each for each in path.values() if isinstance(each, dict)]
    lists = [path.get("parameters", []), *(each.get("parameters", []) for each in operations)]
    return [each for one in lists if isinstance(one, list) for each in one]


@every_page
def test_settings_headers_and_events_exist(page: Path) -> None:
    """Each setting, header and event of the hub that a page names exists."""
    settings = (DOCS / "reference" / "settings.md").read_text()
    routes = (DOCS / "reference" / "http.md").read_text()
    events = {*CONTROL_EVENTS, *GENERATION_EVENTS}
    text = page.read_text()
    for table, name in re.findall(r"`(stream|publish|generations|auth|redis)\.([a-z_]+)`", text):
        assert f"HUB_{table}__{name}`".upper() in settings.upper(), f"{table}.{name}"
    for name in re.findall(r"[`\"]((?:hub|generation)\.[a-z]+)[`\"]", text):
        assert name in events or name in {"hub.proto", "hub.js"}, name
    for header in re.findall(r"[hH]eaders?(?:\.[sS]et)?\((?:name = )?\"([A-Za-z-]+)\"", text):
        assert header.lower() in routes.lower(), header


def test_ports_load(tmp_path: Path) -> None:
    """The settings of the page on gRPC load, and are those of the two listeners."""
    (block,) = (block for block in find_blocks(PAGES["grpc"]) if block.language == "toml")
    file = tmp_path / "hub.toml"
    file.write_text(block.code)
    settings = load_settings(file).settings
    assert (settings.public.grpc_port, settings.internal.grpc_port) == (9090, 9091)


def test_calls_exist() -> None:
    """Each message, field and call of gRPC that the programs use is in hub.proto."""
    proto = PROTO.read_text()
    go = (EXAMPLES / "go" / "grpc.go").read_text()
    java = (EXAMPLES / "java/src/main/java/com/example/hub/Grpc.java").read_text()
    imported = set(re.findall(r"import hub\.v1\.(\w+);", java)) - {"HubGrpc", "HubInternalGrpc"}
    used = set(re.findall(r"&hubv1\.(\w+Request)\{", go)) | imported
    assert len(used) > 5
    for name in used:
        assert re.search(rf"^(message|enum) {name} ", proto, re.MULTILINE), name


@pytest.mark.parametrize("client", ALL_CLIENTS, ids=lambda client: f"{client.id}-{client.name}")
def test_versions(client: Client) -> None:
    """The page of a client says the version that the project of its program has."""
    assert client.version() in (DOCS / "clients" / client.page).read_text()


def test_every_program_has_a_page() -> None:
    """The part of each client is in the usage of its program, and each program is documented."""
    texts = programs()
    for client in ALL_CLIENTS:
        folder = EXAMPLES / ("grpc-node" if client.language == "node" else client.language)
        source = "".join(text for file, text in texts.items() if file.is_relative_to(folder))
        assert re.search(rf"\b{client.part}\b", source), client.name
    readme = (EXAMPLES / "README.md").read_text()
    for folder_name in FOLDERS:
        assert f"]({folder_name}" in readme
