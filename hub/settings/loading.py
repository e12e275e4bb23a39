"""Reads the settings from their sources. Each source overrides the one before: the defaults, a TOML
file, `HUB_…` variables, flags.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pydantic
from pydantic import BaseModel
from pydantic_settings import EnvSettingsSource

from hub.errors import OperatorError
from hub.settings.checks import check_consistency
from hub.settings.models import PREFIX, Settings, Upstream
from hub.settings.patterns import REQUIREMENTS
from hub.settings.presets import PRESETS
from hub.settings.variables import check_variable, is_service_variable
from hub.settings.whitespace import strip_white_space

DEFAULT_FILE: Final = Path("config/hub.toml")
_OTHER_VARIABLES: Final = {
    "HUB_CONFIG",
    "HUB_PYTHON",
}  # the settings file; the Python of scripts/*
_TYPE_NAMES: Final = {"tuple": "list", "dictionary": "table"}
_PYTHON_TYPE: Final = re.compile(r"\b(tuple|dictionary)\b(?: or instance of \w+)?")


class Loaded(NamedTuple):
    """The settings, and the source of each setting that is not a default, by dotted key.

    warnings: sentences about values that the hub has corrected or ignored.
    """

    settings: Settings
    origins: Mapping[str, str]
    warnings: Sequence[str] = ()


def load_settings(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Loaded:
    """Read all sources.

    file: None means HUB_CONFIG, or config/hub.toml if it exists. flags: values by dotted key.
    Raise OperatorError with one sentence.
    """
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    warnings: list[str] = []
    for key, given, origin in (
        *_from_file(file),
        *_from_environment(warnings),
        *_from_flags(flags or {}),
    ):
        _check_known(key, origin)
        value = strip_white_space(key, given)
        if value != given:
            warnings.append(f"white space around {'.'.join(key)} ({origin}) is ignored; remove it")
        _set(merged, key, value)
        origins[".".join(key)] = origin
    try:
        settings = Settings(**merged)
    except pydantic.ValidationError as error:
        raise OperatorError(_describe(error, origins)) from None
    check_consistency(settings)
    return Loaded(settings, {**_preset_origins(settings), **origins}, warnings)


def _preset_origins(settings: Settings) -> dict[str, str]:
    """Return the origin of each value that a preset sets."""
    return {
        ".".join(("upstreams", upstream, *key)): f"preset {each.preset}"
        for upstream, each in settings.upstreams.items()
        if each.preset is not None
        for key, _, _ in _leaves(PRESETS[each.preset], (), "")
    }


SettingValue = tuple[tuple[str, ...], Any, str]


def _from_file(file: Path | None) -> Iterator[SettingValue]:
    named = file or (Path(os.environ["HUB_CONFIG"]) if os.environ.get("HUB_CONFIG") else None)
    path = named or DEFAULT_FILE
    try:
        table = tomllib.loads(path.read_text())
    except FileNotFoundError:
        if named is not None:
            raise OperatorError(f"there is no settings file {path}") from None
        return
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OperatorError(f"the settings file {path} cannot be read: {error}") from error
    yield from _leaves(table, (), str(path))


def _from_environment(warnings: list[str]) -> Iterator[SettingValue]:
    services = []
    for variable in sorted(os.environ):
        if variable.startswith(PREFIX) and variable not in _OTHER_VARIABLES:
            key = tuple(variable.removeprefix(PREFIX).lower().split("__"))
            try:
                annotation = _check_known(key, variable)
            except OperatorError:
                if not is_service_variable(variable, os.environ[variable]):
                    raise
                services.append(variable)
            else:
                check_variable(variable, os.environ[variable], annotation)
    if services:
        warnings.append(
            f"variables such as {services[0]} are ignored: they are set for services and are not "
            "settings (Kubernetes: set enableServiceLinks: false)"
        )
    try:
        table = EnvSettingsSource(Settings)()
    except Exception as error:
        raise OperatorError(
            f"the HUB_ variables of the environment cannot be read: {error}"
        ) from error
    for key, value, _ in _leaves(table, (), ""):
        variable = PREFIX + "__".join(key).upper()
        yield key, value, variable if variable in os.environ else "environment"


def _from_flags(flags: Mapping[str, Any]) -> Iterator[SettingValue]:
    for key, value in flags.items():
        yield tuple(key.split(".")), value, f"--{key.rpartition('.')[2].replace('_', '-')}"


def _leaves(
    table: Mapping[str, Any], above: tuple[str, ...], origin: str
) -> Iterator[SettingValue]:
    for name, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*above, name), origin)
        else:
            yield (*above, name), value, origin


def _check_known(key: tuple[str, ...], origin: str) -> Any:
    """Return the type of a setting; Any inside a free-form value, such as headers.

    Raise OperatorError with the closest name if the setting does not exist.
    """
    model: Any = Settings
    kind: Any = Settings
    for depth, name in enumerate(key):
        if model is None:
            return Any
        if model is dict:
            kind = model = Upstream
            continue
        if name not in model.model_fields:
            dotted = ".".join(key[: depth + 1])
            near = difflib.get_close_matches(name, model.model_fields, n=1)
            hint = f"; did you mean {'.'.join((*key[:depth], near[0]))}?" if near else ""
            raise OperatorError(f"there is no setting {dotted} ({origin}){hint}")
        kind = model.model_fields[name].annotation
        if name == "upstreams":
            model = dict
        else:
            is_table = isinstance(kind, type) and issubclass(kind, BaseModel)
            model = kind if is_table else None
    return kind


def _set(table: dict[str, Any], key: tuple[str, ...], value: Any) -> None:
    for name in key[:-1]:
        table = table.setdefault(name, {})
    table[key[-1]] = value


def _describe(error: pydantic.ValidationError, origins: Mapping[str, str]) -> str:
    """Describe the first error: the setting, its source and the reason, but never the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    dotted = ".".join(str(part) for part in first["loc"])
    near = (key for key in origins if dotted.startswith(key) or key.startswith(dotted))
    origin = next((origins[key] for key in near), None)
    what = REQUIREMENTS.get(first.get("ctx", {}).get("pattern", ""), first["msg"])
    what = what.removeprefix("Value error, ")
    what = _PYTHON_TYPE.sub(lambda match: _TYPE_NAMES[match[1]], what)
    return f"the setting {dotted}{f' ({origin})' if origin else ''} is wrong: {what}"
