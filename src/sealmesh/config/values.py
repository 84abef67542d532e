"""One parser per kind of value. Each takes what a flag, a variable or the file gave.

Each raises ValueError with what is wrong, in words that follow the name of the setting.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from sealmesh.config.settings import LOOPBACK, REQUIRED_TIER, TIERS, Secret, TpmUse
from sealmesh.limits import MODELS_PER_RECORD_MAX, NAME_MAX


def as_flag(raw: object) -> bool:
    """A switch: true or false, or their usual words."""
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str):
        if raw.strip().lower() in {"1", "true", "yes", "on"}:
            return True
        if raw.strip().lower() in {"0", "false", "no", "off"}:
            return False
    raise ValueError("expected true or false")


def as_text(raw: object) -> str:
    """One line of text without control characters."""
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError("expected some text")
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in raw):
        raise ValueError("control characters are not allowed here")
    return raw.strip()


def as_name(raw: object) -> str:
    """A display name that fits into a record."""
    text = as_text(raw)
    if len(text.encode()) > NAME_MAX:
        raise ValueError(f"longer than {NAME_MAX} bytes")
    return text


def as_names(raw: object) -> tuple[str, ...]:
    """One or more model names, as a list or parted by commas."""
    if isinstance(raw, str):
        raw = [part for part in raw.split(",") if part.strip()]
    if not isinstance(raw, list | tuple) or not raw:
        raise ValueError("expected a name, or a list of names")
    found = tuple(dict.fromkeys(as_text(part) for part in raw))
    if len(found) > MODELS_PER_RECORD_MAX:
        raise ValueError(f"more than {MODELS_PER_RECORD_MAX} models; serve the rest from another node")
    return found


def as_controls(raw: object) -> tuple[str, ...]:
    """One or more names of controls, as a list or parted by commas; whether there are such is seen where they are."""
    if isinstance(raw, str):
        raw = raw.split(",")
    if not isinstance(raw, list | tuple) or not raw:
        raise ValueError("expected names of controls, parted by commas")
    return tuple(dict.fromkeys(as_text(part).lower().replace("-", "_") for part in raw))


def whole_number(lowest: int, highest: int) -> Callable[[object], int]:
    """A parser for whole numbers within bounds, both included."""

    def parse(raw: object) -> int:
        if isinstance(raw, str) and re.fullmatch(r"[0-9]{1,9}", raw.strip()):
            raw = int(raw)
        if isinstance(raw, bool) or not isinstance(raw, int) or not lowest <= raw <= highest:
            raise ValueError(f"expected a whole number from {lowest} to {highest}")
        return raw

    return parse


def as_seconds(raw: object) -> float:
    """A time span in seconds, up to a day."""
    if isinstance(raw, str) and re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", raw.strip()):
        raw = float(raw)
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not 0 < raw <= 86_400:
        raise ValueError("expected a number of seconds above 0 and at most 86400")
    return float(raw)


def as_tier(raw: object) -> str | None:
    """The label of the least tier demanded; true means the usual one, false and `none` mean None."""
    if raw is True or (isinstance(raw, str) and raw.strip().lower() in {"true", "1", "yes", "on"}):
        return REQUIRED_TIER
    if raw is False or (isinstance(raw, str) and raw.strip().lower() in {"false", "0", "no", "off", "none"}):
        return None
    label = raw.strip().lower().replace("_", "-") if isinstance(raw, str) else ""
    if label not in TIERS:
        raise ValueError(f"expected one of {', '.join(TIERS)}")
    return label


def as_url(schemes: tuple[str, ...]) -> Callable[[object], str]:
    """A parser for URLs of these schemes, without credentials in them."""

    def parse(raw: object) -> str:
        text = as_text(raw)
        try:
            parts = urlsplit(text)
            usable = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(f"expected a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        if parts.username or parts.password:
            raise ValueError("a URL with a name or password in it would end up in logs; leave them out")
        return text

    return parse


def as_backend(raw: object) -> str:
    """An engine's base URL without its last slash, `unix:/path`, or `echo:` with its options."""
    text = as_text(raw)
    if text.startswith("echo:") or (text.startswith("unix:/") and len(text) > len("unix:/")):
        return text
    try:
        url = as_url(("http", "https"))(text)
    except ValueError as error:
        raise ValueError(f"{error}, or unix:/PATH, or echo:") from None
    if urlsplit(url).query or urlsplit(url).fragment:
        raise ValueError("a backend's URL has no query and no fragment")
    return url.rstrip("/")


def as_ip(raw: object) -> str:
    """An IP address to listen on."""
    text = as_text(raw)
    if text == "localhost":
        return LOOPBACK
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        raise ValueError("expected an IP address such as 127.0.0.1 or 0.0.0.0") from None


def as_bind(raw: object) -> str:
    """`ip:port`, normalised."""
    text = as_text(raw)
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})", text)
    try:
        if match is None or int(match[3]) > 65_535:
            raise ValueError
        address = ipaddress.ip_address(match[1] or match[2])
    except ValueError:
        raise ValueError("expected ADDRESS:PORT such as 0.0.0.0:4433 or [::]:4433") from None
    return f"[{address}]:{match[3]}" if address.version == 6 else f"{address}:{match[3]}"


def as_path(raw: object) -> Path:
    """A path, `~` expanded."""
    if isinstance(raw, Path):
        return raw.expanduser()
    text = as_text(raw)
    return Path(text).expanduser()


def as_tpm(raw: object) -> Path | TpmUse:
    """`auto`, `none`, or the path of a device or a socket."""
    for member in TpmUse:
        if raw is member or (isinstance(raw, str) and raw.strip().lower() == member.value):
            return member
    return as_path(raw)


def as_secret(raw: object) -> Secret:
    """A text that redacts itself."""
    if isinstance(raw, Secret):
        return raw
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError("it is empty")
    return Secret(raw.strip())


def one_of(kind: type[enum.Enum]) -> Callable[[object], enum.Enum]:
    """A parser for the values of an enum."""

    def parse(raw: object) -> enum.Enum:
        for member in kind:
            if raw is member or raw == member.value:
                return member
        raise ValueError(f"expected one of {', '.join(str(member.value) for member in kind)}")

    return parse
