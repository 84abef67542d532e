"""TLS for the API, where it listens off loopback or the operator wants it."""

from __future__ import annotations

import ssl

from sealmesh.config import Settings
from sealmesh.errors import ConfigError


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The API's TLS context.

    Raises:
        ConfigError: The files cannot be used.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"the TLS files cannot be used: {settings.tls_cert}, {settings.tls_key}") from error
    return context
