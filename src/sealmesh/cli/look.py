"""`sealmesh status`, `hosts` and `models`: what the running node sees, for people or as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sealmesh.attestation.words import tier_words
from sealmesh.cli.node_api import NodeApi
from sealmesh.cli.terminal import REASON_SHOWN_MAX, Tone, escape_peer_text, short_id, table

_SHOWN_CONTROLS: Final = 8  # names of controls in a line; the rest is counted
_SHOWN_MODELS: Final = 3  # names in a cell; the rest is counted


def show_status(home: Path | None, *, as_json: bool) -> int:
    """Print the node's status.

    Raises:
        SealmeshError: No node runs, or it does not answer.
    """
    status = NodeApi.find(home).status()
    print(_json(status) if as_json else "\n".join(status_lines(status, Tone.of(sys.stdout))))
    return 0


def show_hosts(home: Path | None, *, as_json: bool) -> int:
    """Print the hosts that the node knows, what each has proven, and why one is not used.

    Raises:
        SealmeshError: No node runs, or it does not answer.
    """
    peers = [peer for peer in _list(NodeApi.find(home).status(), "peers") if _serves(peer)]
    print(_json(peers) if as_json else "\n".join(host_lines(peers, Tone.of(sys.stdout))))
    return 0


def show_models(home: Path | None, *, as_json: bool) -> int:
    """Print every advertised model.

    Raises:
        SealmeshError: No node runs, or it does not answer.
    """
    models = NodeApi.find(home).models()
    print(_json(models) if as_json else "\n".join(model_lines(models, Tone.of(sys.stdout))))
    return 0


# --- lines for people; every value may be a peer's ------------------------------------------------------------


def status_lines(status: Mapping[str, Any], tone: Tone) -> list[str]:
    """The whole status on a page."""
    mesh, exchanges, tokens = (_map(status, name) for name in ("mesh", "exchanges", "tokens"))
    peers = _list(status, "peers")
    failed = ", ".join(
        f"{_shown(reason)} {_number(count)}" for reason, count in _map(exchanges, "failed_by_reason").items()
    )
    mesh_name = _text(mesh, "name")
    unsealed = sum(
        route["requests"]
        for route in _maps(_list(_map(status, "asked"), "routes"))
        if route.get("sealed") == "no" and isinstance(route.get("requests"), int)
    )
    rows = [
        ("version", _text(status, "version")),
        ("node", _text(status, "endpoint_id", most=64)),
        (
            "mesh",
            f"{mesh_name} ({short_id(str(mesh.get('id', '')))})" if mesh_name else short_id(str(mesh.get("id", ""))),
        ),
        ("revoked", revoked_words(mesh)),
        ("roles", ", ".join(_shown(role) for role in _list(status, "roles"))),
        ("up", span(status.get("uptime_s"))),
        *([("proven by", _text(status, "attester"))] if status.get("attester") else []),
        *([("hw key", _text(status, "hardware_key", most=64))] if status.get("hardware_key") else []),
        ("keys", "sealed to this machine's TPM" if status.get("keys_at_rest") == "tpm" else "in files of the home"),
        ("hardening", posture_words(_map(status, "posture"))),
        ("policy", f"hosts of tier {_text(status, 'policy_minimum')} or better"),
        *([("builds", _blessed_words(_map(status, "blessed")))] if _map(status, "blessed") else []),
        *[("cut off", _cut_off_words(one)) for one in _maps(_list(status, "cut_off"))],
        ("peers", f"{len(peers)}, {sum(bool(peer.get('connected')) for peer in _maps(peers))} connected"),
        (
            "exchanges",
            f"{_number(exchanges.get('open'))} open, {_number(exchanges.get('done'))} done"
            + (f", UNSEALED: {unsealed}" if unsealed else "")
            + (f", failed: {failed}" if failed else ""),
        ),
        (
            "tokens",
            f"asked {_number(tokens.get('prompt'))} + {_number(tokens.get('completion'))}, "
            f"served {_number(tokens.get('served_prompt'))} + {_number(tokens.get('served_completion'))} (in + out)",
        ),
        *_answer_rows(_map(status, "asked")),
    ]
    lines = [f"{tone.style(name.ljust(10), 'dim')} {value}" for name, value in rows]
    models = [
        {"id": model.get("name"), "context_length": model.get("context_length"), "sealmesh": model}
        for model in _maps(_list(status, "models"))
    ]
    return [*lines, "", *model_lines(models, tone)]


def revoked_words(mesh: Mapping[str, Any]) -> str:
    """How many are out and how old the list is: a peer can withhold a newer one."""
    issued, revoked = mesh.get("revocations_issued"), mesh.get("revoked")
    if not isinstance(issued, int) or not issued:
        return "nobody; no list was seen"
    return f"{revoked if isinstance(revoked, int) else '?'}, by a list that is {span(max(0, time.time() - issued))} old"


def _answer_rows(asked: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How this node's apps were answered, where they were: by which way, and how soon."""
    ways: Counter[str] = Counter()
    for route in _maps(_list(asked, "routes")):
        way = {"no": "plain", "local": "by this node"}.get(str(route.get("sealed")), "sealed")
        ways[way] += _count(route.get("requests"))
    rows = [("answered", ", ".join(f"{way} {count}" for way, count in sorted(ways.items())))] if ways else []
    streams, within = 0, Counter[float]()
    for latency in _maps(_list(asked, "first_token")):
        streams += _count(latency.get("count"))
        for bucket in _list(latency, "buckets"):
            if isinstance(bucket, list) and len(bucket) == 2 and isinstance(bucket[0], int | float):
                within[float(bucket[0])] += _count(bucket[1])
    if streams:
        half = next((bound for bound in sorted(within) if within[bound] * 2 >= streams), None)
        soon = f"within {half:g} s" if half is not None else "after minutes"
        rows.append(("latency", f"first token {soon} for half of {streams} streamed answers"))
    return rows


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def model_lines(models: list[dict[str, Any]], tone: Tone) -> list[str]:
    """A table of models as `/v1/models` lists them."""
    if not models:
        return ["No host in the mesh advertises a model now."]
    rows = []
    notes = []
    for model in models:
        ours = _map(model, "sealmesh")
        usable = bool(ours.get("usable"))
        context = _number(model.get("context_length"))
        rows.append(
            (
                _text(model, "id"),
                "unknown" if context == "0" else context,
                _number(ours.get("hosts")),
                _text(ours, "best_tier"),
                ("UNSEALED" if ours.get("plain") is True else "yes") if usable else "no",
            )
        )
        if not usable:
            notes += _refusals(_map(ours, "refused"))
    return [*table(("MODEL", "CONTEXT", "HOSTS", "BEST TIER", "USABLE"), rows, tone), *notes]


def host_lines(peers: list[dict[str, Any]], tone: Tone) -> list[str]:
    """A table of hosts, why some are not used, and what their tiers are worth."""
    if not peers:
        return ["No other host is known now. One joins with: sealmesh serve --join-file FILE"]
    rows = []
    notes = []
    says = []
    judged = any(peer.get("build") for peer in peers)  # only where the policy names a list of builds
    for peer in peers:
        names = [_shown(name) for name in _list(peer, "models")]
        more = f" +{len(names) - _SHOWN_MODELS}" if len(names) > _SHOWN_MODELS else ""
        rtt = peer.get("rtt_ms")
        path = _text(peer, "path") + (f" {rtt:.0f} ms" if isinstance(rtt, int | float) else "")
        rows.append(
            (
                short_id(str(peer.get("endpoint_id", ""))),
                _text(peer, "name"),
                ", ".join(names[:_SHOWN_MODELS]) + more,
                _text(peer, "tier"),
                *([_build_word(peer)] if judged else []),
                "NO (plain)"
                if peer.get("plain") is True
                else ", ".join(_shown(suite) for suite in _list(peer, "sealed_suites")) or "-",
                span(peer.get("evidence_age_s")),
                path if peer.get("connected") else "not connected",
            )
        )
        reasons = "; ".join(_shown(reason, most=REASON_SHOWN_MAX) for reason in _list(peer, "refused"))
        if reasons:
            notes.append(f"  {short_id(str(peer.get('endpoint_id', '')))} is not used: {reasons}")
        elif _build_word(peer) == "unblessed":
            reason = _text(peer, "build", most=REASON_SHOWN_MAX)
            notes.append(f"  {short_id(str(peer.get('endpoint_id', '')))} is {reason}")
        posture = _map(peer, "posture")
        if posture:
            says.append(f"  {short_id(str(peer.get('endpoint_id', '')))} says of itself: {posture_words(posture)}")
    build = ["BUILD"] if judged else []
    headings = ("HOST", "NAME", "MODELS", "TIER", *build, "SEALED", "EVIDENCE", "PATH")
    kinds = {tuple(str(peer.get(name, "")) for name in ("tier", "operator_blind", "vendor")) for peer in peers}
    meanings = [
        f"  {_shown(tier)}: {tier_words(tier, blind or 'no', vendor=vendor)}" for tier, blind, vendor in sorted(kinds)
    ]
    return [
        *table(headings, rows, tone),
        *notes,
        "",
        *(tone.style(words, "dim") for words in says),
        *(tone.style(meaning, "dim") for meaning in meanings),
    ]


def posture_words(posture: Mapping[str, Any]) -> str:
    """A posture in a line: how many controls are on, and the names of the others. Perhaps a peer's own words."""
    named: dict[str, list[str]] = {"on": [], "off": [], "unavailable": []}
    for name, state in posture.items():
        word = str(state).partition(":")[0]
        if word in named:
            named[word].append(_shown(name))
    if not any(named.values()):
        return "nothing"
    parts = [f"{len(named['on'])} on"]
    for word in ("off", "unavailable"):
        names = named[word]
        if names:
            more = f" +{len(names) - _SHOWN_CONTROLS}" if len(names) > _SHOWN_CONTROLS else ""
            parts.append(f"{word}: {', '.join(names[:_SHOWN_CONTROLS])}{more}")
    backend = posture.get("backend")
    return "; ".join([*parts, *([f"model {_shown(backend)}"] if backend is not None else [])])


def _build_word(peer: Mapping[str, Any]) -> str:
    """`blessed` or `unblessed`: the host's own word, judged by the policy's list."""
    return _shown(str(peer.get("build") or "-").partition(":")[0])


def _cut_off_words(one: Mapping[str, Any]) -> str:
    """A member that misbehaved, in a line: what it did is told in words that may be its own."""
    reason = escape_peer_text(str(one.get("reason", "")), most=REASON_SHOWN_MAX)
    return f"{short_id(str(one.get('endpoint_id', '')))} for {span(one.get('left_s'))} more: {reason}"


def _blessed_words(blessed: Mapping[str, Any]) -> str:
    """The list of builds that the policy names, in a line."""
    name = _text(blessed, "name")
    demanded = "; demanded of every host" if blessed.get("required") is True else ""
    if not blessed.get("version"):
        return f"{name}: no list is known yet{demanded}"
    state = "" if blessed.get("in_force") is True else ", which has ended"
    return (
        f"{name}, version {_number(blessed.get('version'))}{state}, {_number(blessed.get('builds'))} builds{demanded}"
    )


def span(seconds: object) -> str:
    """A time span in words that fit into a column."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds < 1e12:
        return "-"
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def _refusals(refused: Mapping[str, Any]) -> list[str]:
    return [f"  {short_id(host)}: {_shown(reason, most=REASON_SHOWN_MAX)}" for host, reason in refused.items()]


def _serves(peer: object) -> bool:
    return isinstance(peer, dict) and bool(_list(peer, "models") or "host" in str(peer.get("role", "")))


# --- reading what the node said; a missing or odd value shows as empty, never as a traceback --------------------


def _map(source: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = source.get(name)
    return value if isinstance(value, dict) else {}


def _list(source: Mapping[str, Any], name: str) -> list[Any]:
    value = source.get(name)
    return value if isinstance(value, list) else []


def _maps(values: list[Any]) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)]


def _shown(value: object, *, most: int | None = None) -> str:
    return escape_peer_text(str(value)) if most is None else escape_peer_text(str(value), most=most)


def _text(source: Mapping[str, Any], name: str, *, most: int | None = None) -> str:
    value = source.get(name)
    return "" if value is None else _shown(value, most=most)


def _number(value: object) -> str:
    return f"{value:,}".replace(",", " ") if isinstance(value, int) and not isinstance(value, bool) else "0"


def _json(value: object) -> str:
    """JSON in ASCII: nothing in it can reach a terminal as a control."""
    return json.dumps(value, indent=2)
