"""The settings of a node."""

from sealmesh.config.load import OPTIONS, default_home, find_home, load_settings
from sealmesh.config.settings import (
    DEFAULT_CONSOLE_PORT,
    DEFAULT_MODEL,
    DEFAULT_PORT,
    LOOPBACK,
    REQUIRED_TIER,
    TICKET_PREFIX,
    TIERS,
    AttesterChoice,
    BackendApi,
    LogFormat,
    Mode,
    Secret,
    Settings,
    TpmUse,
)

__all__ = [
    "DEFAULT_CONSOLE_PORT",
    "DEFAULT_MODEL",
    "DEFAULT_PORT",
    "LOOPBACK",
    "OPTIONS",
    "REQUIRED_TIER",
    "TICKET_PREFIX",
    "TIERS",
    "AttesterChoice",
    "BackendApi",
    "LogFormat",
    "Mode",
    "Secret",
    "Settings",
    "TpmUse",
    "default_home",
    "find_home",
    "load_settings",
]
