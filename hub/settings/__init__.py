"""The settings. They are read once at the start and never change.

The sources, each of which overrides the one before: the defaults (models.py), a TOML file, `HUB_…`
variables (with `__` between the levels: HUB_REDIS__URL), and flags (loading.py). An unknown key is
an error that names it. Only this package and logs.py read the environment. models.py is the only
home of defaults: the components get every value from hub/wiring.
"""

from hub.settings.checks import SIMULATED_UPSTREAM, check_for_production
from hub.settings.loading import DEFAULT_FILE, Loaded, load_settings
from hub.settings.masking import mask_settings, mask_url, mask_urls
from hub.settings.models import (
    MIN_API_KEY_CHARS,
    MIN_SECRET_BYTES,
    PREFIX,
    ChannelRetention,
    Guard,
    Internal,
    Public,
    Push,
    Redis,
    Settings,
    Upstream,
)

__all__ = [
    "DEFAULT_FILE",
    "MIN_API_KEY_CHARS",
    "MIN_SECRET_BYTES",
    "PREFIX",
    "SIMULATED_UPSTREAM",
    "ChannelRetention",
    "Guard",
    "Internal",
    "Loaded",
    "Public",
    "Push",
    "Redis",
    "Settings",
    "Upstream",
    "check_for_production",
    "load_settings",
    "mask_settings",
    "mask_url",
    "mask_urls",
]
