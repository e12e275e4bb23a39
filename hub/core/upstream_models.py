"""The models of an upstream: which one answers a request."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hub import error_codes
from hub.errors import BadRequest


class UpstreamModels(msgspec.Struct, frozen=True):
    """The models of an upstream, so that a request that it could not serve can be refused.

    default_model: the model for requests without one. models: the models that the upstream accepts;
    empty if it accepts any. kind: its wire format, as the settings name it.
    """

    default_model: str | None
    models: Sequence[str]
    kind: str = "openai"

    def choose(self, upstream: str, model: str | None) -> str:
        """Return the model that answers a request. Raise BadRequest.

        upstream: the name of this one. model: that of the request, None without one.
        """
        chosen = model or self.default_model or next(iter(self.models), None)
        if chosen is None:
            raise BadRequest(
                f"name the model: the upstream {upstream!r} has no default",
                code=error_codes.MODEL_REQUIRED,
                path="model",
            )
        if self.models and chosen not in self.models:
            known = ", ".join(self.models)
            raise BadRequest(
                f"the upstream {upstream!r} has no model {chosen!r}; it has: {known}",
                code=error_codes.UNKNOWN_UPSTREAM,
                path="model",
            )
        return chosen
