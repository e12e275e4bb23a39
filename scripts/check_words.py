"""Refuse the words that scripts/retired-words.txt retires.

Usage: check_words.py [PATH ...], by default every file of the repository.
Print `path:line: word: use …` for each use and exit with 1 if there is one.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
LIST: Final = Path(__file__).with_name("retired-words.txt")
# Data, generated files and vendored files, and the list itself.
SKIPPED: Final = (
    *("*.lock", "*lock.json", "*.svg", "*.png", "*.webp", "*LICENSE", "*_pb2*.py", "*_pb2.pyi"),
    *("hub/http/pages/vendor/*", "scripts/retired-words.txt"),
)
C_LIKE: Final = frozenset({".js", ".mjs", ".jsx", ".ts", ".java", ".c", ".proto"})
COMMENT_OR_STRING: Final = {
    "c": re.compile(
        r"/\*.*?\*/|//[^\n]*|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"|`(?:\\.|[^`\\])*`",
        re.DOTALL,
    ),
    "lua": re.compile(
        r"--\[\[.*?\]\]|--[^\n]*|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL
    ),
}
# A name after a dot belongs to whoever defines the object, except after `this.`.
IDENTIFIER: Final = re.compile(r"(?<![\w$])(?:(?<!\.)|(?<=this\.))[A-Za-z_$][\w$]*")
TOML_KEY: Final = re.compile(r"^[ \t]*#?[ \t]*([a-z_.]+)[ \t]*=|^\[([a-z_.]+)\]", re.MULTILINE)
GAP: Final = r"[\s_-]+"  # what a space in a pattern stands for
WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
MARKERS: Final = re.compile(r"[#*/\"'`]|--")


class Rules(NamedTuple):
    """The list as regular expressions. instead holds, by group name, what to use instead.

    allowed: pairs of a path pattern and a word.
    """

    names: re.Pattern[str]
    texts: re.Pattern[str]
    instead: dict[str, str]
    allowed: list[tuple[str, str]]


class Use(NamedTuple):
    """An identifier in snake case, or a text with the number of its first line."""

    line: int
    text: str
    is_name: bool


def read_rules(listed: str) -> Rules:
    """Parse the list. A line that cannot be parsed ends the program."""
    patterns: dict[str, list[str]] = {"name": [], "text": []}
    instead, allowed = {}, []
    for number, line in enumerate(listed.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        left, arrow, right = line.partition(" -> ")
        kind, _, word = left.strip().partition(" ")
        if kind not in {"name", "text", "allow"} or not (arrow and right.strip() and word.strip()):
            sys.exit(f"{LIST.name}:{number}: write `name|text PATTERN -> INSTEAD`")
        if kind == "allow":
            path, _, word = word.strip().partition(" ")
            allowed.append((path, word.strip()))
        else:
            instead[f"line{number}"] = right.strip()
            patterns[kind].append(f"(?P<line{number}>{word.strip().replace(' ', GAP)})")
    names, texts = (
        re.compile(rf"(?<![a-z0-9])(?=[a-z0-9])(?:{'|'.join(each)})(?![a-z0-9])", re.IGNORECASE)
        for each in (patterns["text"] + patterns["name"], patterns["text"])
    )
    return Rules(names, texts, instead, allowed)


def split_name(name: str) -> str:
    """Return an identifier in snake case: StopSignal and STOP_SIGNAL are both stop_signal."""
    return "_".join(WORD.findall(name)).lower()


def without_code(source: str, kept: list[tuple[int, int]]) -> str:
    """Return the source with everything outside the kept ranges blanked, line breaks excepted."""
    parts, end = [], 0
    for start, stop in kept:
        parts += [re.sub(r"[^\s]", "\0", source[end:start]), MARKERS.sub(" ", source[start:stop])]
        end = stop
    return "".join([*parts, re.sub(r"[^\s]", "\0", source[end:])])


def python_uses(source: str) -> Iterator[Use]:
    """Yield each name where Python code binds it, and the comments and strings."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield Use(node.lineno, split_name(name), not name.startswith("test_"))
            case ast.ClassDef(name=name) | ast.arg(arg=name) | ast.alias(asname=str(name)):
                yield Use(node.lineno, split_name(name), is_name=True)
            case (
                ast.Name(id=name, ctx=ast.Store())
                | ast.Attribute(attr=name, ctx=ast.Store())
                | ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
            ):
                yield Use(node.lineno, split_name(name), is_name=True)
    starts = [0, *(match.end() for match in re.finditer("\n", source))]
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    tokens = tokenize.generate_tokens(iter(source.splitlines(keepends=True)).__next__)
    kept = [
        (starts[token.start[0] - 1] + token.start[1], starts[token.end[0] - 1] + token.end[1])
        for token in tokens
        if token.type in kinds
    ]
    yield Use(1, without_code(source, kept), is_name=False)


def code_uses(source: str, language: str) -> Iterator[Use]:
    """Yield the identifiers, the comments and the strings of Lua or of a C-like language."""
    kept = [match.span() for match in COMMENT_OR_STRING[language].finditer(source)]
    yield Use(1, without_code(source, kept), is_name=False)
    code = COMMENT_OR_STRING[language].sub(lambda m: re.sub(r"[^\n]", " ", m[0]), source)
    for match in IDENTIFIER.finditer(code):
        yield Use(code.count("\n", 0, match.start()) + 1, split_name(match[0]), is_name=True)


def uses(path: str, source: str) -> Iterator[Use]:
    """Yield everything of a file that the rules apply to."""
    suffix = Path(path).suffix
    yield Use(1, split_name(Path(path).stem), not path.startswith("tests/"))
    if suffix == ".py":
        yield from python_uses(source)
    elif suffix == ".lua" or suffix in C_LIKE:
        yield from code_uses(source, "lua" if suffix == ".lua" else "c")
    else:
        yield Use(1, MARKERS.sub(" ", source), is_name=False)
        for match in TOML_KEY.finditer(source) if suffix == ".toml" else ():
            line = source.count("\n", 0, match.start()) + 1
            yield Use(line, split_name(match[1] or match[2]), is_name=True)


def findings(path: str, source: str, rules: Rules) -> Iterator[str]:
    """Yield one line per use of a retired word in a file."""
    allowed = {word for pattern, word in rules.allowed if fnmatch(path, pattern)}
    printed = set()
    for use in uses(path, source):
        for match in (rules.names if use.is_name else rules.texts).finditer(use.text):
            word = " ".join(match[0].split()).lower()
            line = use.line + use.text.count("\n", 0, match.start())
            if word not in allowed and (line, word) not in printed:
                printed.add((line, word))
                name = f" (in {use.text})" if use.is_name and use.text != word else ""
                yield f"{path}:{line}: {word}{name}: use {rules.instead[match.lastgroup or '']}"


def main(paths: list[str]) -> int:
    """Check the given files or folders; return the exit code."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *paths],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    rules, count = read_rules(LIST.read_text()), 0
    for path in sorted(set(listing)):
        if not (ROOT / path).is_file() or any(fnmatch(path, each) for each in SKIPPED):
            continue
        for line in findings(path, (ROOT / path).read_text(), rules):
            print(line)
            count += 1
    if count:
        print(f"{count} uses of retired words; scripts/retired-words.txt says what to use instead.")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
