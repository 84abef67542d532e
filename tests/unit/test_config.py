"""Settings: which source wins, what is refused, and what the refusal says."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealmesh.attestation.factors import Tier
from sealmesh.config import OPTIONS, TIERS, BackendApi, LogFormat, Mode, Secret, Settings, find_home, load_settings
from sealmesh.errors import ConfigError

TICKET = "sealmesh1abcdefgh"


def load(
    mode: Mode = Mode.SERVE, *, home: Path, environment: dict[str, str] | None = None, **flags: object
) -> Settings:
    return load_settings(mode, flags={"home": home, **flags}, environment=environment or {})


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_defaults(tmp_path: Path) -> None:
    settings = load(home=tmp_path)
    assert settings == Settings(mode=Mode.SERVE, home=tmp_path, models=("smollm2-135m",))
    assert (settings.port, settings.console_port, settings.listen) == (9337, 3131, "127.0.0.1")
    assert not settings.public_relays
    assert settings.relay_url is None


def test_a_client_serves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "config.toml", 'model = "big"\nparallel = 4\nport = 4000\n')
    settings = load(Mode.CLIENT, home=tmp_path)
    assert settings.models == ()
    assert settings.parallel is None
    assert settings.port == 4000
    assert not settings.serves


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    write(tmp_path / "config.toml", 'port = 1001\nconsole_port = 1002\nname = "of the file"\n')
    settings = load(home=tmp_path, environment={"SEALMESH_PORT": "2001", "SEALMESH_CONSOLE_PORT": "2002"}, port="3001")
    assert (settings.port, settings.console_port, settings.name) == (3001, 2002, "of the file")


def test_every_setting_can_stand_in_the_environment_and_all_but_secrets_in_the_file(tmp_path: Path) -> None:
    assert {option.environment for option in OPTIONS.values()} >= {"SEALMESH_PORT", "SEALMESH_TICKET"}
    assert {key for key, option in OPTIONS.items() if not option.in_file} == {"join", "api_key", "backend_key"}
    fields = set(Settings.__dataclass_fields__)
    assert {option.attribute for option in OPTIONS.values()} == fields - {"mode", "home", "warnings"}


@pytest.mark.parametrize("given", ["seccomp, Landlock", ["seccomp", "landlock", "seccomp"]])
def test_demanded_controls_are_a_list_or_parted_by_commas(tmp_path: Path, given: object) -> None:
    settings = load_settings(Mode.SERVE, flags={"home": tmp_path, "require_hardening": given}, environment={})
    assert settings.require_hardening == ("seccomp", "landlock")


def test_hardening_is_taken_away_by_a_flag_alone(tmp_path: Path) -> None:
    flags = {"home": tmp_path}
    assert load_settings(Mode.SERVE, flags={**flags, "no_hardening": True}, environment={}).no_hardening
    assert not load_settings(Mode.SERVE, flags=flags, environment={"SEALMESH_NO_HARDENING": "1"}).no_hardening
    (tmp_path / "config.toml").write_text("no_hardening = true")
    with pytest.raises(ConfigError, match="on the command line only"):
        load_settings(Mode.SERVE, flags=flags, environment={})


def test_hardening_is_not_both_demanded_and_taken_away(tmp_path: Path) -> None:
    flags = {"home": tmp_path, "no_hardening": True, "require_hardening": "seccomp"}
    with pytest.raises(ConfigError, match="exclude each other"):
        load_settings(Mode.SERVE, flags=flags, environment={})


def test_rivals_in_one_source_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--model and --backend exclude each other|--backend and --model exclude"):
        load(home=tmp_path, model="a", backend="echo:")


def test_a_rival_in_a_higher_source_wins(tmp_path: Path) -> None:
    write(tmp_path / "config.toml", 'model = "a"\n')
    assert load(home=tmp_path).models == ("a",)
    settings = load(home=tmp_path, environment={"SEALMESH_BACKEND": "http://127.0.0.1:8000/v1/"})
    assert settings.models == ()
    assert settings.backend == "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot = 1\n", "unknown key 'prot'; did you mean port"),
        ("require-attested-hosts = true\n", "did you mean require_attested_hosts"),
        ('join = "sealmesh1x"\n', "join is a secret; keep it in a file of its own and name that as join_file"),
        ("port = \n", "not valid TOML"),
        ("port = true\n", "port: expected a whole number from 0 to 65535"),
        ('headless = "perhaps"\n', "expected true or false"),
        ("[mesh]\nname = 1\n", "unknown key 'mesh'"),
        ("x = " + "[" * 5000, "nested too deeply"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_words(tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path / "config.toml", text)
    with pytest.raises(ConfigError, match=words):
        load(home=tmp_path)


def test_a_file_that_was_named_must_exist_and_be_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read"):
        load(home=tmp_path, config=tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="larger than"):
        load(home=tmp_path, config=write(tmp_path / "big.toml", "#" * 70_000))


def test_paths_in_the_file_are_relative_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    write(folder / "ticket", TICKET + "\n")
    config = write(folder / "sealmesh.toml", 'join_file = "ticket"\n')
    settings = load(Mode.CLIENT, home=tmp_path, config=config)
    assert settings.ticket is not None
    assert settings.ticket.reveal() == TICKET


def test_a_misspelt_variable_does_not_silently_demand_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean SEALMESH_REQUIRE_ATTESTED_HOSTS"):
        load(home=tmp_path, environment={"SEALMESH_REQUIRE_ATTESTED_HOST": "1"})
    assert load(home=tmp_path, environment={"SEALMESH_TEST_SOMETHING_ELSE": "1", "SEALMESH_DEBUG": "1"}).port == 9337


@pytest.mark.parametrize(
    ("given", "tier"),
    [
        ("pinned", "pinned"),
        ("Hardware_Rooted", "hardware-rooted"),
        ("confidential", "confidential"),
        (True, "hardware-rooted"),
        ("1", "hardware-rooted"),
        ("none", None),
        (False, None),
    ],
)
def test_required_tier(tmp_path: Path, given: object, tier: str | None) -> None:
    assert load(home=tmp_path, require_attested_hosts=given).require_attested_hosts == tier


def test_tiers_are_those_of_attestation_in_their_order() -> None:
    assert tuple(tier.label for tier in sorted(Tier)) == TIERS


def test_a_tier_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--require-attested-hosts: expected one of none, self-asserted"):
        load(home=tmp_path, require_attested_hosts="hardwear")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"port": "99999"}, "--port"),
        ({"port": "0x10"}, "--port"),
        ({"port": "9337", "console_port": "9337"}, "both 9337"),
        ({"bind": "example.org:1"}, "--bind: expected ADDRESS:PORT"),
        ({"bind": "127.0.0.1"}, "--bind"),
        ({"bind": "127.0.0.1:70000"}, "--bind"),
        ({"listen": "myhost"}, "--listen: expected an IP address"),
        ({"backend": "ftp://x"}, "--backend: expected a URL"),
        ({"backend": "http://user:secret@x"}, "--backend: a URL with a name or password"),
        ({"backend": "http://x/v1?key=1"}, "no query"),
        ({"backend": "unix:"}, "--backend"),
        ({"name": "a\x1b[31m"}, "--name: control characters"),
        ({"name": "x" * 129}, "--name: longer than 128 bytes"),
        ({"parallel": "0"}, "--parallel"),
        ({"model": ["a", "b"]}, "one model"),
        ({"backend": "echo:", "backend_model": [str(number) for number in range(17)]}, "more than 16 models"),
        ({"log_format": "yaml"}, "--log-format: expected one of pretty, json"),
        ({"public_relays": True}, "--public-relays is not available in this version: name a relay"),
        ({"tls_cert": "cert.pem"}, "belong together"),
        ({"policy": "nowhere.toml"}, "is no file"),
        ({"join": "hello"}, "no ticket: one begins with sealmesh1"),
        ({"join_file": "nowhere"}, "--join-file: nowhere cannot be read"),
        ({"join": TICKET, "join_file": "x"}, "exclude each other"),
        ({"response_head_timeout_s": "0"}, "--response-head-timeout-s"),
        ({"prot": "1"}, "--prot is no setting; did you mean port"),
    ],
)
def test_values_that_cannot_be_used_are_refused_with_words(
    tmp_path: Path, flags: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        load(home=tmp_path, **flags)


@pytest.mark.parametrize("key", ["public_relays"])
def test_what_this_version_lacks_is_refused_wherever_it_stands(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=f"SEALMESH_{key.upper()} is not available in this version"):
        load(home=tmp_path, environment={f"SEALMESH_{key.upper()}": "1"})
    write(tmp_path / "config.toml", f"{key} = true\n")
    with pytest.raises(ConfigError, match=f"config.toml: {key} is not available in this version"):
        load(Mode.CLIENT, home=tmp_path)
    write(tmp_path / "config.toml", f"{key} = false\n")  # to say that it is not wanted is right
    assert not getattr(load(home=tmp_path), key)


def test_values_that_can_be_used(tmp_path: Path) -> None:
    settings = load(
        home=tmp_path, port="0", console_port="0", bind="[::1]:0", listen="localhost", log_format="json", headless=True
    )
    assert (settings.port, settings.console_port, settings.bind) == (0, 0, "[::1]:0")
    assert settings.listen == "127.0.0.1"
    assert settings.log_format is LogFormat.JSON
    assert load(home=tmp_path, backend="unix:/run/engine.sock").backend == "unix:/run/engine.sock"
    assert load(home=tmp_path, backend="echo:", backend_api="responses").backend_api is BackendApi.RESPONSES


def test_plain_ways_are_taken_with_a_warning_each(tmp_path: Path) -> None:
    settings = load(home=tmp_path, plain=True, allow_plain_hosts=True)
    assert (settings.plain, settings.allow_plain_hosts) == (True, True)
    served, asked = settings.warnings
    assert "--plain" in served
    assert "UNSEALED" in asked
    assert "new endpoint id is a new plain node" in asked
    (overruled,) = load(Mode.CLIENT, home=tmp_path, allow_plain_hosts=True, require_attested_hosts="pinned").warnings
    assert "does nothing" in overruled
    assert load(Mode.CLIENT, home=tmp_path, plain=True).plain is False


# --- secrets ------------------------------------------------------------


def test_a_ticket_comes_from_flag_file_or_environment(tmp_path: Path) -> None:
    path = write(tmp_path / "ticket", TICKET + "\n")
    for settings in (
        load(home=tmp_path, join=TICKET),
        load(home=tmp_path, join_file=str(path)),
        load(home=tmp_path, environment={"SEALMESH_TICKET": TICKET}),
        load(home=tmp_path, join_file=path, environment={"SEALMESH_TICKET": "sealmesh1other"}),
    ):
        assert settings.ticket is not None
        assert settings.ticket.reveal() == TICKET
        assert settings.warnings == ()


def test_a_ticket_file_that_others_can_read_is_warned_about(tmp_path: Path) -> None:
    path = write(tmp_path / "ticket", TICKET, mode=0o644)
    (warning,) = load(home=tmp_path, join_file=path).warnings
    assert "chmod 600" in warning
    assert TICKET not in warning


def test_secrets_redact_themselves(tmp_path: Path) -> None:
    keys = write(tmp_path / "keys", "first-key-of-some-length\nsecond-key-of-some-length\n")
    settings = load(
        home=tmp_path,
        join=TICKET,
        api_key_file=keys,
        backend="http://127.0.0.1:1",
        environment={"SEALMESH_BACKEND_KEY": "engine-secret"},
    )
    assert [key.reveal() for key in settings.api_keys] == ["first-key-of-some-length", "second-key-of-some-length"]
    shown = f"{settings!r} {settings} {settings.ticket} {settings.ticket!r}"
    for secret in (TICKET, "first-key", "second-key", "engine-secret"):
        assert secret not in shown


def test_what_is_no_ticket_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load(home=tmp_path, join="a-secret-pasted-into-the-wrong-place")
    assert "a-secret" not in str(refused.value)


def test_equal_secrets_are_equal() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")


# --- off loopback (DESIGN.md section 9) ----------------------------------------


def test_off_loopback_a_key_and_tls_or_a_word_are_demanded(tmp_path: Path) -> None:
    keys = write(tmp_path / "keys", "k" * 24)
    with pytest.raises(ConfigError, match="--api-key-file"):
        load(home=tmp_path, listen="0.0.0.0", insecure_http=True)
    with pytest.raises(ConfigError, match="--insecure-http"):
        load(home=tmp_path, listen="0.0.0.0", api_key_file=keys)
    assert load(home=tmp_path, listen="0.0.0.0", api_key_file=keys, insecure_http=True).insecure_http
    pem = write(tmp_path / "pem", "x")
    assert load(home=tmp_path, listen="::", api_key_file=keys, tls_cert=pem, tls_key=pem).tls_cert == pem


def test_short_api_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="openssl rand"):
        load(home=tmp_path, environment={"SEALMESH_API_KEY": "short"})


# --- homes ------------------------------------------------------------


def test_home_by_flag_variable_or_platform(tmp_path: Path) -> None:
    assert find_home(tmp_path, {"SEALMESH_HOME": "/elsewhere"}) == tmp_path
    assert find_home(None, {"SEALMESH_HOME": str(tmp_path)}) == tmp_path
    assert find_home(None, {}).name == "sealmesh"


def test_the_home_holds_the_usual_config_and_policy(tmp_path: Path) -> None:
    write(tmp_path / "config.toml", "headless = true\n")
    policy = write(tmp_path / "policy.toml", "")
    settings = load(home=tmp_path)
    assert settings.headless
    assert settings.policy == policy
    other = write(tmp_path / "other.toml", "")
    assert load(home=tmp_path, policy=str(other)).policy == other
