"""The form of `HUB_…` variables whose setting is a list or a table: JSON.

Shells and files of variables know only text, so a wrong form is a common mistake. The error shows
the right form, and never the value, which may be a secret.
"""

from __future__ import annotations

import json
import types
import typing
from typing import Any, Final

from pydantic import BaseModel

from hub.errors import OperatorError
from hub.settings.models import PREFIX

_EXAMPLES: Final[dict[str, Any]] = {
    "allowed_origins": ["https://app.example.com"],
    "api_keys": [{"name": "shop", "key": "…", "scopes": ["publish", "read"]}],
    "trusted_proxies": ["10.0.0.0/8"],
}
_LIST_EXAMPLE: Final = ["first", "second"]
_TABLE_EXAMPLE: Final = {"name": "value"}


def check_variable(variable: str, text: str, annotation: Any) -> None:
    """Raise OperatorError with the right form unless the text has the form of its setting.

    annotation: the type of the setting. Numbers, texts and true or false are checked elsewhere.
    """
    kinds = [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
    if len(kinds) != 1:
        return
    kind = typing.get_origin(kinds[0]) or kinds[0]
    if kind in (tuple, list):
        _check_list(variable, text, typing.get_args(kinds[0])[0])
    elif kind is dict and not isinstance(_parse(text), dict):
        raise _wrong_form(variable, "table", _TABLE_EXAMPLE)
    elif _is_table(kind) and not isinstance(_parse(text), dict):
        first = next(iter(kind.model_fields))
        raise OperatorError(
            f"{variable} names a table of settings, not one setting: set for example "
            f"{variable}__{first.upper()}"
        )


def _check_list(variable: str, text: str, item: Any) -> None:
    value = _parse(text)
    is_table = _is_table(item)
    if not isinstance(value, list) or any(isinstance(each, dict) is not is_table for each in value):
        name = variable.rpartition("__")[2].lower()
        default = [_TABLE_EXAMPLE] if is_table else _LIST_EXAMPLE
        raise _wrong_form(variable, "list", _EXAMPLES.get(name, default))


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _wrong_form(variable: str, kind: str, example: Any) -> OperatorError:
    form = json.dumps(example, ensure_ascii=False)
    setting = variable.removeprefix(PREFIX).lower().replace("__", ".")
    return OperatorError(
        f"the setting {setting} ({variable}) must be a JSON {kind}, for example {variable}='{form}'"
    )
