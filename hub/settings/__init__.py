"""Every setting, read once at the start and frozen.

Sources, each overriding the one before: the defaults (models.py), a TOML file, `HUB_…` variables
(`__` between the levels: HUB_REDIS__URL), flags (loading.py). An unknown key is an error that names
it. This package and logs.py are the only readers of the environment.
"""

from hub.settings.checks import check_for_production
from hub.settings.loading import DEFAULT_FILE, Loaded, load_settings
from hub.settings.models import (
    MIN_SECRET_BYTES,
    PREFIX,
    ChannelRetention,
    Internal,
    Public,
    Settings,
    Upstream,
    mask_credentials,
)

__all__ = [
    "DEFAULT_FILE",
    "MIN_SECRET_BYTES",
    "PREFIX",
    "ChannelRetention",
    "Internal",
    "Loaded",
    "Public",
    "Settings",
    "Upstream",
    "check_for_production",
    "load_settings",
    "mask_credentials",
]
