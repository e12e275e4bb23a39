"""Loads functions by their targets: `module:attribute`, of an App or of one function."""

from __future__ import annotations

import importlib
import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hub.producer.app import App, Producer, producer_of


class CannotLoad(Exception):
    """A target cannot be loaded. The message is one sentence, perhaps with a traceback below."""


def load_app(target: str) -> App:
    """Return the app of a target; that of one function is an app with this function."""
    value = _load(target)
    if isinstance(value, App):
        return value
    app = App()
    producer = _to_producer(value, target)
    app.producers[producer.name] = producer
    return app


def load_producer(name: str, target: str) -> Producer:
    """Return the function of a target. name: selects a function of an app with several."""
    value = _load(target)
    if not isinstance(value, App):
        return _to_producer(value, target)
    producers = value.producers
    if name in producers:
        return producers[name]
    if len(producers) == 1:
        return next(iter(producers.values()))
    names = ", ".join(producers) or "none"
    raise CannotLoad(f"the app {target} has no function named {name!r}; it has: {names}")


def load_guard(target: str) -> Callable[..., Any]:
    """Return the function of a target that checks answers."""
    value = _load(target)
    if inspect.isclass(value) or not callable(value):
        raise CannotLoad(f"{target} is no function that checks answers: it is {value!r}")
    try:
        inspect.signature(value).bind(None)
    except TypeError:
        raise CannotLoad(f"the function {target} must have one parameter: window") from None
    guard: Callable[..., Any] = value
    return guard


def _to_producer(value: Any, target: str) -> Producer:
    try:
        return producer_of(value)
    except (TypeError, ValueError) as error:
        raise CannotLoad(f"{target} is neither an App nor a function: {error}") from None


def _load(target: str) -> Any:
    module_name, _, attributes = target.partition(":")
    try:
        value: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise CannotLoad(
                f"there is no module {module_name} for {target}; the folder {Path.cwd()} was "
                "searched first"
            ) from None
        raise CannotLoad(_describe(target, error)) from None
    except BaseException as error:  # noqa: BLE001 - whatever the module raises, also SystemExit
        raise CannotLoad(_describe(target, error)) from None
    for attribute in attributes.split("."):
        try:
            value = getattr(value, attribute)
        except AttributeError:
            raise CannotLoad(f"the module {module_name} has no {attributes}") from None
    return value


def _describe(target: str, error: BaseException) -> str:
    summary = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    text = "".join(traceback.format_exception(error))
    return f"{target} cannot be loaded: {summary}\n{text}".rstrip()
