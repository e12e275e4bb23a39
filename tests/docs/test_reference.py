"""Generate the pages of docs/reference from the code, below their introductions.

WRITE_DOCS=1 in the environment writes the pages; without it, the tests compare them.
"""

from __future__ import annotations

import json
import os
import re
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from hub.cli.app import app
from hub.settings import Settings
from hub.settings.models import ApiKey, ChannelRetention
from tests.docs.snippets import DOCS, ROOT
from tests.docs.typescript import describe, read_declarations

EXAMPLE = ROOT / "config" / "hub.example.toml"
JAVASCRIPT_TYPES = ROOT / "hub" / "http" / "pages" / "hub.d.ts"  # also in the npm package
BACKEND_TYPES = ROOT / "clients" / "javascript" / "backend.d.ts"

# Examples in the help of the commands that need another machine or fixed ports, and who runs them.
RUN_BY = {
    "dev": "tests/e2e/test_dev.py",
    "serve": "tests/e2e/test_multiprocess.py",
    "worker": "tests/e2e/test_relay.py",
    "doctor": "tests/e2e/test_doctor_proxy.py",
    "outbox": "tests/outbox/test_commands.py",
    "outbox status": "tests/outbox/test_commands.py",
    "outbox refused": "tests/outbox/test_commands.py",
    "outbox retry": "tests/outbox/test_commands.py",
    "outbox discard": "tests/outbox/test_commands.py",
    **{
        f"webhooks {name}": "tests/cli/test_webhook_commands.py"
        for name in ("list", "dead", "waiting", "show", "replay")
    },
}


def read_purposes() -> dict[str, str]:
    """Return the purpose of each setting: its comment in config/hub.example.toml."""
    purposes: dict[str, str] = {}
    table = ""
    for line in EXAMPLE.read_text().splitlines():
        if head := re.match(r"(?:# )?\[+([a-z._]+)\]", line):
            table = re.sub(r"^(upstreams|shapes)\.[a-z]+", r"\1.*", head[1]) + "."
        elif setting := re.match(r"(?:# )?([a-z_0-9]+) ?[=:] .*?\s#\s(.+)$", line):
            purposes[f"{table}{setting[1]}"] = setting[2]
    for table in ("log.topic", "log.all"):  # the same settings as for users
        purposes |= {
            f"{table}.{name}": purposes[f"log.user.{name}"]
            for name in ChannelRetention.model_fields
        }
    return purposes


def describe_type(annotation: Any) -> str:
    """Return the name of a type for a reader who knows TOML."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return describe_type(inner[0])
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (typing.Union, types.UnionType):
        kinds = [describe_type(each) for each in inner if each is not type(None)]
        return " or ".join(dict.fromkeys(kinds))
    if origin is tuple:
        return "list"
    names = {bool: "true, false", int: "whole number", float: "number", str: "text"}
    names |= {Path: "path", SecretStr: "secret", dict: "table", ApiKey: "table", Any: "any"}
    return names[origin or annotation]


def describe_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if field.default_factory is not None:
        return "host and process"
    if value is None:
        return "–"
    if isinstance(value, BaseModel):
        return ""
    return f"`{json.dumps(value)}`"


def tables(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield a model and its nested models by dotted name; `*` stands for any name."""
    yield above, model
    for name, field in model.model_fields.items():
        inner = [field.annotation, *typing.get_args(field.annotation)]
        star = ".*" if typing.get_origin(field.annotation) is dict else ""
        for each in inner:
            if isinstance(each, type) and issubclass(each, BaseModel):
                yield from tables(each, f"{above}.{name}{star}".lstrip("."))


def settings_page() -> str:
    page, known = "", read_purposes()
    for table, model in tables(Settings):
        rows = []
        for name, field in model.model_fields.items():
            if (table, name) == ("node", "metrics_dir") or _is_table(field):
                continue
            dotted = f"{table}.{name}".lstrip(".")
            assert dotted in known, (
                f"config/hub.example.toml: add a comment with the purpose of {dotted}"
            )
            variable = f"HUB_{dotted.replace('*', 'NAME').replace('.', '__').upper()}"
            variable = (
                ""
                if table in ("auth.api_keys", "auth.issuers", "webhooks")
                else f"<br>`{variable}`"
            )
            what = known[dotted].replace("|", "\\|")
            kind, default = describe_type(field.annotation), describe_default(field)
            rows.append(f"| `{name}`{variable} | {kind} | {default} | {what} |")
        if rows:
            page += f"\n## {f'[{table}]' if table else 'Top-level settings'}\n"
            if table and model.__doc__:
                page += f"{' '.join(model.__doc__.split())}\n"
            page += "\n| setting, variable | kind | default | what it is for |\n|---|---|---|---|\n"
            page += "\n".join(rows) + "\n"
    return page


def _is_table(field: FieldInfo) -> bool:
    kinds = (field.annotation, *typing.get_args(field.annotation)[1:])
    return any(isinstance(each, type) and issubclass(each, BaseModel) for each in kinds)


def cli_page() -> str:
    page = ""
    for name, command in _commands(typer.main.get_command(app)):
        context = typer.Context(command, info_name=f"hub {name}")
        description, _, example = (command.help or "").partition("Example: ")
        shown = [each for each in command.params if not getattr(each, "hidden", False)]
        page += f"\n## hub {name}\n{description.strip()}\n\n"
        page += f"```text\n{command.get_usage(context)}\n```\n"
        if example:
            page += f"<!-- run by: {RUN_BY[name]} -->\n" if name in RUN_BY else ""
            page += f"```sh\n{example.strip()}\n```\n"
        page += _options(shown, context)
    return page


def _commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the commands of a group with their names, each group before its commands."""
    for name, command in group.commands.items():
        yield f"{prefix}{name}", command
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix}{name} ")


def _options(params: list[Any], context: typer.Context) -> str:
    rows = []
    for each in params:
        record = each.get_help_record(context)
        if record is None:
            continue
        names, what = record
        what = re.sub(r"\s*\[default: .*?\]|\s*\[required\]", "", what)
        default = each.default if each.default not in (None, "", False) else ""
        shown = f"`{default}`" if default != "" else ("required" if each.required else "")
        rows.append(f"| `{names}` | {shown} | {' '.join(what.split())} |")
    if not rows:
        return ""
    return "\n| option | default | |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def check(page: str, generated: str) -> None:
    """Compare a page with its introduction (up to the first heading) and the generated text."""
    file = DOCS / "reference" / page
    text = file.read_text().partition("\n## ")[0] + generated
    if os.environ.get("WRITE_DOCS"):
        file.write_text(text)
    assert file.read_text() == text, (
        f"{page} is out of date; run the test with WRITE_DOCS=1 to write it"
    )


def test_settings() -> None:
    """The page lists each setting with its variable, type, default and purpose."""
    check("settings.md", settings_page())


def test_commands() -> None:
    """The page lists each command with its usage, example and options."""
    check("cli.md", cli_page())


def javascript_page(types: Path, first: Sequence[str]) -> str:
    """Return a section for each export. first: those of an ordinary page."""
    declarations = list(read_declarations(types.read_text()))
    declarations.sort(key=lambda each: first.index(each.name) if each.name in first else len(first))
    return "\n" + "\n\n".join(describe(each) for each in declarations) + "\n"


@pytest.mark.parametrize(
    ("page", "types", "first"),
    [
        ("javascript.md", JAVASCRIPT_TYPES, ["connect", "Hub", "Answer", "HubError", "Options"]),
        (
            "javascript-backend.md",
            BACKEND_TYPES,
            ["connectBackend", "Backend", "ProducedAnswer", "Job", "GenerationOptions"],
        ),
    ],
)
def test_javascript(page: str, types: Path, first: list[str]) -> None:
    """The page lists each export of a module and the members of each, with types and comments."""
    check(page, javascript_page(types, first))
    text = (DOCS / "reference" / page).read_text()
    source = types.read_text()
    exported = re.findall(r"^export \w+ (\w+)", source, re.MULTILINE)
    assert sorted(re.findall(r"^## (\w+)", text, re.MULTILINE)) == sorted(exported)
    for member in re.findall(r"^  (?:get )?([a-zA-Z]\w*)\??[(:<]", source, re.MULTILINE):
        assert re.search(rf"`(?:readonly )?{member}\b|new {member}", text) or member in (
            "constructor",
            "private",
        ), member
