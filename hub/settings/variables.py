"""`HUB_…` variables: the form of lists and tables, and variables that are not settings.

The form is JSON. Shells and files of variables know only text, so a wrong form is a common mistake.
The error shows the right form, and never the value, which may be a secret.

Kubernetes and Docker set variables for services. For a Service named `hub-internal`, kubelet gives
every pod of the namespace the variables HUB_INTERNAL_SERVICE_HOST, HUB_INTERNAL_SERVICE_PORT,
HUB_INTERNAL_PORT=tcp://… and others, unless the pod has `enableServiceLinks: false` (kubernetes.io,
"Accessing the Service: Environment Variables"). They look like settings.
"""

from __future__ import annotations

import json
import re
import types
import typing
from typing import Any, Final

from pydantic import BaseModel

from hub.errors import OperatorError
from hub.settings.models import PREFIX

_EXAMPLES: Final[dict[str, Any]] = {
    "allowed_origins": ["https://app.example.com"],
    "api_keys": [{"name": "shop", "key": "…", "scopes": ["publish", "read"]}],
    "password_command": ["vault", "kv", "get", "-field=password", "secret/redis"],
    "trusted_proxies": ["10.0.0.0/8"],
}
_LIST_EXAMPLE: Final = ["first", "second"]
_TABLE_EXAMPLE: Final = {"name": "value"}

_NAME_OF_ADDRESS: Final = re.compile(
    r"\w*_SERVICE_(HOST|PORT(_\w+)?)|\w*_PORT_\d+_(TCP|UDP|SCTP)_\w+"
)
_NAME_OF_URL: Final = re.compile(r"\w*_PORT(_\d+_(TCP|UDP|SCTP))?")
_URL: Final = re.compile(r"(tcp|udp|sctp)://\S+")


def is_service_variable(variable: str, value: str) -> bool:
    """Return whether a variable without a setting was set for a service.

    A setting whose name is misspelt (HUB_PORT=8080) is not: its value is not a URL of this kind.
    """
    if _NAME_OF_ADDRESS.fullmatch(variable):
        return True
    return _NAME_OF_URL.fullmatch(variable) is not None and _URL.fullmatch(value) is not None


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
