"""Where settings come from, which of them wins, and what is said when one cannot be used.

A setting is looked for in the flags, then in the environment (`SEALMESH_PORT` for `--port`), then in the
configuration file, then among the defaults.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sealmesh.config import values as parse
from sealmesh.config.settings import (
    DEFAULT_MODEL,
    TICKET_PREFIX,
    AttesterChoice,
    BackendApi,
    LogFormat,
    Mode,
    Secret,
    Settings,
    TpmUse,
)
from sealmesh.errors import ConfigError
from sealmesh.limits import KIB

ENV_PREFIX: Final = "SEALMESH_"
CONFIG_FILE_MAX: Final = 64 * KIB  # a configuration is a page; more is the wrong file
SECRET_FILE_MAX: Final = 16 * KIB  # a ticket or a list of API keys is far smaller
API_KEY_MIN: Final = 16  # characters; shorter keys can be guessed over a network

#: Names in the environment that are ours and are no settings.
_OTHER_ENVIRONMENT: Final = frozenset(
    {"SEALMESH_DEBUG", "SEALMESH_TICKET_FD", "SEALMESH_SERVICE", "SEALMESH_RECORD_STREAMS", "SEALMESH_MODEL_CACHE"}
)


def default_home() -> Path:
    """The platform's data directory for sealmesh."""
    import platformdirs  # only needed where no home was given

    return Path(platformdirs.user_data_dir("sealmesh", appauthor=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Option:
    """One setting.

    Attributes:
        attribute: The field of `Settings` that it fills.
        parse: From what was given to the value.
        environment: The variable's name.
        in_file: Whether the configuration file may hold it; secrets may not stand there.
        rival: Another setting that fills the same place; the same source may give only one of the two.
        serving: Whether it means anything only where a model is served.
        only_flag: Whether it is given on the command line only.
        missing: Why this version refuses it, where it does: what is not built yet is never accepted in silence.
    """

    attribute: str
    parse: Callable[[object], Any]
    environment: str
    in_file: bool = True
    rival: str = ""
    serving: bool = False
    only_flag: bool = False
    missing: str = ""


def _option(key: str, attribute: str, parse: Callable[[object], Any], **more: Any) -> tuple[str, _Option]:
    environment = str(more.pop("environment", ENV_PREFIX + key.upper()))
    return key, _Option(attribute=attribute, parse=parse, environment=environment, **more)


OPTIONS: Final[Mapping[str, _Option]] = dict(
    (
        _option("model", "models", parse.as_names, rival="backend", serving=True),
        _option("backend", "backend", parse.as_backend, rival="model", serving=True),
        _option("backend_api", "backend_api", parse.one_of(BackendApi), serving=True),
        _option("backend_key", "backend_key", parse.as_secret, in_file=False, rival="backend_key_file", serving=True),
        _option("backend_key_file", "backend_key", parse.as_path, rival="backend_key", serving=True),
        _option("backend_model", "backend_models", parse.as_names, serving=True),
        _option("backend_cache_salt", "backend_cache_salt", parse.as_flag, serving=True),
        _option("parallel", "parallel", parse.whole_number(1, 256), serving=True),
        _option("context_size", "context_size", parse.whole_number(128, 16_777_216), serving=True),
        _option("threads", "threads", parse.whole_number(1, 1024), serving=True),
        _option("embeddings", "embeddings", parse.as_flag, serving=True),
        _option("plain", "plain", parse.as_flag, serving=True),
        _option("join", "ticket", parse.as_secret, in_file=False, rival="join_file", environment="SEALMESH_TICKET"),
        _option("join_file", "ticket", parse.as_path, rival="join"),
        _option("mesh_name", "mesh_name", parse.as_name),
        _option("name", "name", parse.as_name),
        _option("require_attested_hosts", "require_attested_hosts", parse.as_tier),
        _option("require_blessed", "require_blessed", parse.as_flag),
        _option("allow_plain_hosts", "allow_plain_hosts", parse.as_flag),
        _option("policy", "policy", parse.as_path),
        _option("save_evidence", "save_evidence", parse.as_path),
        _option("require_hardening", "require_hardening", parse.as_controls),
        # Put in force before any file is read, so only a flag can say it; nor is a variable enough to take it away.
        _option("no_hardening", "no_hardening", parse.as_flag, only_flag=True, environment=""),
        _option("attester", "attester", parse.one_of(AttesterChoice), serving=True),
        _option("tpm", "tpm", parse.as_tpm),
        _option("listen", "listen", parse.as_ip),
        _option("port", "port", parse.whole_number(0, 65_535)),
        _option("console_port", "console_port", parse.whole_number(0, 65_535)),
        _option("headless", "headless", parse.as_flag),
        _option("bind", "bind", parse.as_bind),
        _option("relay_url", "relay_url", parse.as_url(("http", "https"))),
        _option(
            "public_relays", "public_relays", parse.as_flag, missing="name a relay of your choice with --relay-url"
        ),
        _option("api_key", "api_keys", parse.as_secret, in_file=False, rival="api_key_file"),
        _option("api_key_file", "api_keys", parse.as_path, rival="api_key"),
        _option("tls_cert", "tls_cert", parse.as_path),
        _option("tls_key", "tls_key", parse.as_path),
        _option("insecure_http", "insecure_http", parse.as_flag),
        _option("log_format", "log_format", parse.one_of(LogFormat)),
        _option("response_head_timeout_s", "response_head_timeout_s", parse.as_seconds),
        _option("response_body_timeout_s", "response_body_timeout_s", parse.as_seconds),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Where values came from: how it calls a key in a message, and what it gave."""

    title: Callable[[str], str]
    values: Mapping[str, object]
    folder: Path | None = None  # what relative paths are relative to; None is the working directory


def load_settings(
    mode: Mode,
    *,
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Gather the settings of one node.

    Args:
        mode: What the process is for.
        flags: What was given on the command line, by the names of `OPTIONS` (underscores) plus `home` and `config`;
            None means "not given".
        environment: The process's environment; `os.environ` where none is given.

    Raises:
        ConfigError: Something cannot be used; the message names where it stands and what to do.
    """
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    environment = os.environ if environment is None else environment
    _refuse_misspelt_environment(environment)
    home, config = _home_and_config(given, environment)
    sources = [
        _Source(title=_flag_name, values={key: value for key, value in given.items() if key not in _EARLY}),
        _Source(title=lambda key: OPTIONS[key].environment, values=_from_environment(environment)),
    ]
    if config is not None:
        sources.append(_Source(title=lambda key: f"{config}: {key}", values=_from_file(config), folder=config.parent))
    fields: dict[str, Any] = {}
    warnings: list[str] = []
    for key, (value, title) in _choose(sources).items():
        option = OPTIONS[key]
        if option.serving and mode is Mode.CLIENT:
            continue  # one configuration file may serve both commands
        if key in {"join_file", "backend_key_file"}:
            value = _read_secret(value, title, warnings)
        elif key == "api_key_file":
            value = tuple(Secret(line) for line in _read_secret(value, title, warnings).reveal().split())
        elif key == "api_key":
            value = (value,)
        fields[option.attribute] = value
    if mode is Mode.SERVE and not fields.get("models") and not fields.get("backend"):
        fields["models"] = (DEFAULT_MODEL,)
    if "policy" not in fields and (home / "policy.toml").is_file():
        fields["policy"] = home / "policy.toml"
    warnings += _plain_warnings(fields)
    settings = Settings(mode=mode, home=home, warnings=tuple(warnings), **fields)
    _check_together(settings)
    return settings


_EARLY: Final = frozenset({"home", "config"})  # they say where to look, so they are looked at first


def _flag_name(key: str) -> str:
    return "--" + key.replace("_", "-")


def _home_and_config(given: Mapping[str, object], environment: Mapping[str, str]) -> tuple[Path, Path | None]:
    """Where the state lives and which configuration file is read, if any."""
    home = given.get("home") or environment.get("SEALMESH_HOME")
    path = _parsed(parse.as_path, home, "--home").absolute() if home else default_home()
    config = given.get("config") or environment.get("SEALMESH_CONFIG")
    if config:
        named: Path = _parsed(parse.as_path, config, "--config").absolute()
        return path, named
    usual = path / "config.toml"
    return path, usual if usual.is_file() else None


def find_home(given: str | Path | None, environment: Mapping[str, str] | None = None) -> Path:
    """The home that a command without further settings (`status`, `chat`, …) looks into.

    Raises:
        ConfigError: `--home` or `SEALMESH_HOME` is no path.
    """
    return _home_and_config({"home": given}, os.environ if environment is None else environment)[0]


def _parsed(parser: Callable[[object], Any], raw: object, title: str) -> Any:
    try:
        return parser(raw)
    except ValueError as error:
        raise ConfigError(f"{title}: {error}") from None


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _refuse_misspelt_environment(environment: Mapping[str, str]) -> None:
    """A misspelt `SEALMESH_REQUIRE_ATTESTED_HOST` must not silently demand nothing."""
    known = {option.environment for option in OPTIONS.values()} | {"SEALMESH_HOME", "SEALMESH_CONFIG"}
    for name in environment:
        if name.startswith(ENV_PREFIX) and name not in known and name not in _OTHER_ENVIRONMENT:
            near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.85)
            if near:
                raise ConfigError(f"the environment has {name}, which is no setting; did you mean {near[0]}?")


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    found = ((key, environment.get(option.environment)) for key, option in OPTIONS.items() if not option.only_flag)
    return {key: value for key, value in found if value}


def _from_file(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as stream:
            content = stream.read(CONFIG_FILE_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); check --config") from None
    if len(content) > CONFIG_FILE_MAX:
        raise ConfigError(f"{path} is larger than {CONFIG_FILE_MAX} bytes; is it a configuration file?")
    try:
        values = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply to be a configuration") from None
    for key in values:
        option = OPTIONS.get(key)
        if option is None:
            usable = (name for name, known in OPTIONS.items() if known.in_file and not known.only_flag)
            raise ConfigError(f"{path}: unknown key {key!r}{_nearest(key, usable)}")
        if option.only_flag:
            raise ConfigError(f"{path}: {key} is given on the command line only, as {_flag_name(key)}")
        if not option.in_file:
            raise ConfigError(f"{path}: {key} is a secret; keep it in a file of its own and name that as {key}_file")
    return values


def _choose(sources: Iterable[_Source]) -> dict[str, tuple[Any, str]]:
    """The value that wins for each key, parsed, with the name of where it stood."""
    chosen: dict[str, tuple[Any, str]] = {}
    for source in sources:
        fresh: dict[str, tuple[Any, str]] = {}
        for key, raw in source.values.items():
            option = OPTIONS.get(key)
            if option is None:
                raise ConfigError(f"{_flag_name(key)} is no setting{_nearest(key, OPTIONS)}")
            if option.rival in source.values:
                raise ConfigError(f"{source.title(key)} and {source.title(option.rival)} exclude each other; give one")
            title = source.title(key)
            value = _parsed(option.parse, raw, title)
            _refuse_missing(option, value, title)
            if isinstance(value, Path) and source.folder is not None:
                value = source.folder / value
            if key not in chosen and option.rival not in chosen:
                fresh[key] = (value, title)
        chosen.update(fresh)
    return chosen


def _refuse_missing(option: _Option, value: object, title: str) -> None:
    """Who asks for what is not built must not believe that it is in force."""
    if option.missing and value:
        raise ConfigError(f"{title} is not available in this version: {option.missing}")


def _read_secret(path: Path, title: str, warnings: list[str]) -> Secret:
    """Read a small file that holds a secret; a file that others can read is used, with a warning."""
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            content = stream.read(SECRET_FILE_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{title}: {path} cannot be read ({error.strerror})") from None
    if len(content) > SECRET_FILE_MAX or not content.strip() or not content.isascii():
        raise ConfigError(f"{title}: {path} is empty, too large or not plain text; is it the right file?")
    if mode & 0o077:
        warnings.append(f"{path} can be read by others on this machine; chmod 600 it")
    return Secret(content.decode("ascii").strip())


def _plain_warnings(fields: Mapping[str, Any]) -> list[str]:
    """What an operator must know who lets prompts go unsealed (DESIGN.md section 8)."""
    warnings = []
    if fields.get("plain"):
        warnings.append(
            "--plain: this node has no key. Prompts reach it unsealed, from nodes that allow plain hosts only"
        )
    if fields.get("allow_plain_hosts"):
        if fields.get("require_attested_hosts") is not None:
            warnings.append("--allow-plain-hosts does nothing here: --require-attested-hosts wins over it")
        else:
            warnings.append(
                "--allow-plain-hosts: prompts for a model that nobody with a key serves go UNSEALED. A new endpoint id "
                "is a new plain node: whoever holds a ticket can be one, again and again"
            )
    return warnings


def _check_together(settings: Settings) -> None:
    """What only shows when the settings are seen together."""
    if len(settings.models) > 1:
        raise ConfigError("a node serves one model in its process; serve the others from nodes with homes of their own")
    if settings.ticket is not None and not settings.ticket.reveal().startswith(TICKET_PREFIX):
        raise ConfigError(f"what was given to join with is no ticket: one begins with {TICKET_PREFIX}")
    if settings.port and settings.port == settings.console_port and not settings.headless:
        raise ConfigError(f"--port and --console-port are both {settings.port}; change one, or set it to 0")
    if settings.no_hardening and settings.require_hardening:
        raise ConfigError("--no-hardening and --require-hardening exclude each other; give one")
    if settings.attester is AttesterChoice.TPM and settings.tpm is TpmUse.NONE:
        raise ConfigError("--attester tpm needs a TPM, and --tpm none forbids it; leave one of them out")
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise ConfigError("--tls-cert and --tls-key belong together; give both")
    for key in settings.api_keys:
        if len(key.reveal()) < API_KEY_MIN:
            raise ConfigError(
                f"an API key has fewer than {API_KEY_MIN} characters; make one with: openssl rand -hex 24"
            )
    for path in (settings.tls_cert, settings.tls_key, settings.policy):
        if path is not None and not path.is_file():
            raise ConfigError(f"{path} is no file")
    if not ipaddress.ip_address(settings.listen).is_loopback:
        _check_off_loopback(settings)


def _check_off_loopback(settings: Settings) -> None:
    """The API off loopback demands a key, and TLS or a word that says plain HTTP is meant (DESIGN.md section 9)."""
    if not settings.api_keys:
        raise ConfigError(f"--listen {settings.listen} lets other machines in: name API keys with --api-key-file")
    if settings.tls_cert is None and not settings.insecure_http:
        raise ConfigError(
            f"--listen {settings.listen} sends prompts over the network: give --tls-cert and --tls-key, "
            "or accept plain HTTP by name with --insecure-http"
        )
