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
    BackendApi,
    LogFormat,
    Mode,
    Secret,
    Settings,
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
    "BackendApi",
    "LogFormat",
    "Mode",
    "Secret",
    "Settings",
    "default_home",
    "find_home",
    "load_settings",
]
