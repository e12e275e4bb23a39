"""Test the check of retired words with planted words and a list of its own."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
LIST = """
# a comment
name flumphs?   -> writer
name ^wug$      -> what it is
text in blick   -> synced
text blick_mode -> sync_mode
allow vendor/*.py flumph -> a library owns the word
"""


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    """Import scripts/check_words.py, which is not in a package."""
    spec = importlib.util.spec_from_file_location("check_words", SCRIPTS / "check_words.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def refused(checker: ModuleType, path: str, source: str) -> list[str]:
    """Return the words that the check refuses in a file, in the order of their lines."""
    lines = checker.findings(path, source, checker.read_rules(LIST))
    return [line.split(": ")[1].split(" (")[0] for line in lines]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("hub/a.py", "class BigFlumph:\n    pass\n"),
        ("hub/a.py", "def send(flumph):\n    pass\n"),
        ("hub/a.py", "class A:\n    def __init__(self):\n        self._flumph = 1\n"),
        ("hub/a.py", "FLUMPH = 1\n"),
        ("hub/a.py", "for flumph in []:\n    pass\n"),
        ("hub/flumph.py", ""),
        ("hub/a.lua", "local flumph = 1\n"),
        ("hub/a.js", "const bigFlumph = 1;\n"),
        ("hub/a.js", "this.flumph = 1;\n"),
        ("config/a.toml", "# flumph_seconds = 1\n"),
        ("config/a.toml", "[flumph]\n"),
    ],
)
def test_names(checker: ModuleType, path: str, source: str) -> None:
    """A retired name is refused wherever a file defines it."""
    assert refused(checker, path, source) == ["flumph"]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("hub/a.py", '"""A flumph."""\n# a flumph\nother.flumph(flumph=1)\nprint("flumph")\n'),
        ("hub/a.py", "flumphed = 1\n"),
        ("hub/a.py", "wug_size = 1\n"),
        ("hub/a.js", "// a flumph\nstream.flumph('flumph');\n"),
        ("vendor/a.py", "flumph = 1\n"),
    ],
)
def test_names_that_are_allowed(checker: ModuleType, path: str, source: str) -> None:
    """Prose, longer words, names of other objects and listed exceptions are not refused."""
    assert refused(checker, path, source) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("hub/a.py", '"""They are in\n    blick."""\n'),
        ("hub/a.py", "# They are in\n# blick.\n"),
        ("hub/a.py", 'raise ValueError(f"{1} is in blick")\n'),
        ("hub/a.py", 'log.info("stream.in_blick")\n'),
        ("hub/a.py", "def test_it_is_in_blick() -> None:\n    pass\n"),
        ("hub/a.lua", "-- They are in blick.\n"),
        ("hub/a.js", "/* They are in\n * blick. */\n"),
        ("scripts/a", "# They are in blick.\n"),
        ("config/a.yml", "description: in blick\n"),
    ],
)
def test_texts(checker: ModuleType, path: str, source: str) -> None:
    """A retired phrase is refused in prose and in names, also over a line break."""
    assert [word.replace("_", " ") for word in refused(checker, path, source)] == ["in blick"]


def test_line_and_replacement(checker: ModuleType) -> None:
    """A finding names the line, the word and what to use instead."""
    rules = checker.read_rules(LIST)
    (line,) = checker.findings("hub/a.py", "\n\nBLICK_MODE = 1\n", rules)
    assert line == "hub/a.py:3: blick_mode: use sync_mode"


def test_line_of_the_list_without_a_replacement(checker: ModuleType) -> None:
    """The list is refused, with the number of the line."""
    with pytest.raises(SystemExit, match=r"retired-words\.txt:1"):
        checker.read_rules("name flumph\n")


def test_real_list(checker: ModuleType) -> None:
    """The list of the project is valid, and the check refuses each literal word in it."""
    text = (SCRIPTS / "retired-words.txt").read_text()
    rules = checker.read_rules(text)
    lines = [line.split(" -> ")[0].split(None, 1) for line in text.splitlines()]
    words = [line[1].strip() for line in lines if len(line) == 2 and line[0] in ("name", "text")]
    literal = [word for word in words if word.replace(" ", "").isalpha()]
    assert len(literal) >= 10
    for word in literal:
        source = f"{word.replace(' ', '_')} = 1\n"
        assert list(checker.findings("hub/a.py", source, rules)), word
