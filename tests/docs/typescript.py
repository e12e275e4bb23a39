"""Read the declarations of a TypeScript file, and describe them in Markdown.

It understands the style of hub.d.ts: top-level `export` declarations whose members are indented by
two spaces, with a comment `/** … */` before each of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_DECLARATION = re.compile(
    r"^(?:/\*\*(?P<comment>(?:(?!\*/).)*)\*/\n)?"
    r"^export (?P<kind>interface|class|function|type) (?P<name>\w+)(?P<rest>.*?)"
    r"(?=^(?:export|/\*\*)|\Z)",
    re.MULTILINE | re.DOTALL,
)
_MEMBER = re.compile(
    r"^  (?:/\*\*(?P<comment>(?:(?!\*/).)*)\*/\n  )?(?P<signature>[^\s/}].*?);\n(?=  \S|\}|\Z)",
    re.MULTILINE | re.DOTALL,
)


class Member(NamedTuple):
    """signatures: more than one if the member is overloaded."""

    signatures: list[str]
    comment: str


class Declaration(NamedTuple):
    """head: the whole declaration of a function or a type; otherwise its first line, and below it
    the constructor of a class that has a public one.
    """

    kind: str
    name: str
    head: str
    comment: str
    members: list[Member]


def one_line(text: str) -> str:
    """Return a comment or a signature without line breaks and the asterisks before its lines."""
    return " ".join(re.sub(r"\n *\*? ?", " ", text).split())


def read_members(body: str) -> list[Member]:
    """Return the members in the braces of an interface or a class, without constructors."""
    members: list[Member] = []
    for match in _MEMBER.finditer(body):
        signature = re.sub(r"^get (\w+)\(\)", r"readonly \1", one_line(match["signature"]))
        name = re.match(r"[\w.\[\]]+", signature)
        if "constructor(" in signature:
            continue
        if name and not match["comment"] and members:
            assert members[-1].signatures[0].startswith(name[0]), f"{signature} has no comment"
            members[-1].signatures.append(signature)
        else:
            assert match["comment"], f"{signature} has no comment"
            members.append(Member([signature], one_line(match["comment"])))
    return members


def read_declarations(source: str) -> Iterator[Declaration]:
    """Yield the exported declarations. One without a comment is an error."""
    for match in _DECLARATION.finditer(source):
        rest = match["rest"]
        has_members = match["kind"] in ("interface", "class")
        head, _, body = rest.partition(" {\n") if has_members else (rest, "", "")
        head = one_line(f"{match['kind']} {match['name']}{head}").rstrip(";")
        if constructor := re.search(r"^  constructor(\(.*?\));$", body, re.MULTILINE | re.DOTALL):
            head += f"\nnew {match['name']}{one_line(constructor[1])}"
        assert match["comment"], f"{head} has no comment"
        comment = one_line(match["comment"])
        yield Declaration(match["kind"], match["name"], head, comment, read_members(body))


def describe(declaration: Declaration) -> str:
    """Return a section of Markdown: the declaration, what it is, and its members."""
    lines = [f"## {declaration.name}", f"```ts\n{declaration.head}\n```", declaration.comment]
    members = []
    for member in declaration.members:
        signatures = "<br>\n  ".join(f"`{signature}`" for signature in member.signatures)
        members.append(f"- {signatures}<br>\n  {member.comment}\n")
    return "\n\n".join([*lines, "".join(members)]).rstrip()
