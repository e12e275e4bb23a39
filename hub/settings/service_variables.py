"""Variables that Kubernetes and Docker set for services, and that look like settings of the hub.

For a Service named `hub-internal`, kubelet gives every pod of the namespace the variables
HUB_INTERNAL_SERVICE_HOST, HUB_INTERNAL_SERVICE_PORT, HUB_INTERNAL_PORT=tcp://… and others, unless
the pod has `enableServiceLinks: false`.

Source: kubernetes.io, "Accessing the Service: Environment Variables".
"""

from __future__ import annotations

import re
from typing import Final

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
