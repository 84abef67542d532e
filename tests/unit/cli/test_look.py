"""status, hosts and models as people see them."""

from __future__ import annotations

import copy

from kit.fake_node import STATUS, model
from sealmesh.cli.look import host_lines, model_lines, posture_words, span, status_lines
from sealmesh.cli.terminal import Tone

PLAIN = Tone(coloured=False)
ODD = {
    "asked": {
        "routes": [1, {"sealed": 3, "requests": "x"}],
        "first_token": [{"count": "x", "buckets": [[1], 2, ["a", 1]]}],
    }
}


def test_hosts_say_what_they_are_and_what_that_is_worth() -> None:
    lines = host_lines(STATUS["peers"], PLAIN)
    assert lines[0].split() == ["HOST", "NAME", "MODELS", "TIER", "SEALED", "EVIDENCE", "PATH"]
    assert lines[1].split("  ")[0] == "3f9c3f9c3f9c…"
    for word in ("attic", "smollm2-135m", "self-asserted", "xwing, x25519", "1 min", "direct 3 ms"):
        assert word in lines[1]
    assert lines[-1] == "  self-asserted: a software key answered; its owner can read prompts"


def test_a_refused_host_says_why_and_claims_nothing_of_how_it_would_be_sealed_to() -> None:
    peer = copy.deepcopy(STATUS["peers"][0])
    peer |= {"refused": ["tier: hardware-rooted wanted", "evidence: too old"], "sealed_suites": [], "connected": False}
    lines = host_lines([peer], PLAIN)
    assert lines[1].split()[4] == "-"
    assert "not connected" in lines[1]
    assert lines[2] == "  3f9c3f9c3f9c… is not used: tier: hardware-rooted wanted; evidence: too old"


def test_no_hosts_say_how_one_joins() -> None:
    assert "sealmesh serve" in host_lines([], PLAIN)[0]


def test_many_models_of_a_host_are_counted() -> None:
    peer = {**STATUS["peers"][0], "models": ["a", "b", "c", "d", "e"]}
    assert "a, b, c +2" in host_lines([peer], PLAIN)[1]


def test_models_say_why_one_cannot_be_used() -> None:
    lines = model_lines([model("good"), model("bad", usable=False)], PLAIN)
    assert lines[1].split() == ["good", "8", "192", "1", "self-asserted", "yes"]
    assert lines[2].split()[-1] == "no"
    assert lines[3] == "  3f9c3f9c3f9c…: tier self-asserted, hardware-rooted wanted"
    assert model_lines([], PLAIN) == ["No host in the mesh advertises a model now."]


def test_status_on_a_page() -> None:
    text = "\n".join(status_lines(STATUS, PLAIN))
    for words in (
        "home (bbbbbbbbbbbb…)",
        "2 h",
        "1, 1 connected",
        "1 open, 12 done, failed: host_lost 2",
        "1 000 + 20",
    ):
        assert words in text


def test_how_apps_were_answered_and_how_soon() -> None:
    routes = [
        {"sealed": "xwing", "requests": 3},
        {"sealed": "x25519", "requests": 2},
        {"sealed": "local", "requests": 4},
        {"sealed": "no", "requests": 1},
    ]
    latency = {"buckets": [[0.1, 1], [0.5, 3], [1.0, 4]], "count": 4}
    asked = {"routes": routes, "first_token": [latency, {"buckets": [[0.1, 2], [0.5, 2], [1.0, 2]], "count": 2}]}
    lines = status_lines({**STATUS, "asked": asked}, PLAIN)
    assert "answered   by this node 4, plain 1, sealed 5" in lines
    assert "latency    first token within 0.1 s for half of 6 streamed answers" in lines
    slow = {"first_token": [{"buckets": [[120.0, 0]], "count": 2}]}
    assert "latency    first token after minutes for half of 2 streamed answers" in status_lines(
        {**STATUS, "asked": slow}, PLAIN
    )
    assert not any(line.startswith(("answered", "latency")) for line in status_lines(STATUS, PLAIN))


def test_a_status_of_another_version_shows_as_far_as_it_goes() -> None:
    for odd in ({}, {"mesh": 1, "peers": "x", "models": [1], "exchanges": [], "tokens": None}, ODD):
        assert status_lines(odd, PLAIN)
    assert host_lines([{"models": 3, "rtt_ms": "x", "refused": None}], PLAIN)


def test_a_posture_is_a_line_and_a_peers_names_are_escaped() -> None:
    posture = {
        "seccomp": "on: 39 calls are refused",
        "landlock": "on",
        "no_swap": "off: memory can be written",
        "yama": "unavailable: the kernel does not have it",
        "evil\x1b[2J": "off: \x1b[2J",
        "backend": "in-process",
    }
    words = posture_words(posture)
    assert words.startswith("2 on; off: no_swap, evil")
    assert words.endswith("; unavailable: yama; model in-process")
    assert "\x1b" not in words
    many = posture_words({str(number): "off: x" for number in range(40)})
    assert many.endswith(" +32")
    assert posture_words({}) == posture_words({"x": 3}) == "nothing"


def test_a_host_that_says_what_protects_it_is_shown_to_have_said_so() -> None:
    peer = {**STATUS["peers"][0], "posture": {"seccomp": "on", "no_swap": "off: there is swap"}}
    lines = host_lines([peer], PLAIN)
    assert "  3f9c3f9c3f9c… says of itself: 1 on; off: no_swap" in lines
    status = status_lines({**STATUS, "posture": {"seccomp": "on"}}, PLAIN)
    assert "hardening  1 on" in status


def test_spans() -> None:
    assert [span(value) for value in (0, 59.9, 60, 3600, 86_400 * 3)] == ["0 s", "59 s", "1 min", "1 h", "3 d"]
    assert [span(value) for value in (None, "1", True, -1, float("nan"), 1e300)] == ["-"] * 6


def test_hosts_say_whether_their_builds_are_blessed_where_a_list_is_named() -> None:
    blessed, unblessed = copy.deepcopy(STATUS["peers"][0]), copy.deepcopy(STATUS["peers"][0])
    blessed["build"] = "blessed: the host says that it runs linux-x86_64-cp311/first"
    unblessed |= {"endpoint_id": "aa" * 32, "build": "unblessed: its build is not on version 2 of the list"}
    lines = host_lines([blessed, unblessed], PLAIN)
    assert "BUILD" in lines[0]
    assert " blessed " in lines[1]
    assert " unblessed " in lines[2]
    assert lines[3] == "  aaaaaaaaaaaa… is unblessed: its build is not on version 2 of the list"
    unblessed["refused"] = [unblessed["build"]]
    assert "is not used: unblessed: its build is not on" in host_lines([unblessed], PLAIN)[2]


def test_the_status_names_the_list_of_builds() -> None:
    known = {"name": "example", "version": 3, "expires": 0.0, "builds": 2, "in_force": True, "required": True}
    lines = status_lines({**STATUS, "blessed": known}, PLAIN)
    assert "builds     example, version 3, 2 builds; demanded of every host" in lines
    lines = status_lines({**STATUS, "blessed": {**known, "in_force": False, "required": False}}, PLAIN)
    assert "builds     example, version 3, which has ended, 2 builds" in lines
    lines = status_lines({**STATUS, "blessed": {**known, "version": 0}}, PLAIN)
    assert "builds     example: no list is known yet; demanded of every host" in lines
    assert not any(line.startswith("builds") for line in status_lines(STATUS, PLAIN))


def test_what_goes_unsealed_is_shown_wherever_one_looks() -> None:
    """[PL-7]"""
    peer = {**STATUS["peers"][0], "plain": True, "sealed_suites": []}
    assert "NO (plain)" in host_lines([peer], PLAIN)[1]
    listed = model("open")
    listed["sealmesh"] = {**listed["sealmesh"], "plain": True}
    assert model_lines([listed], PLAIN)[1].split()[-1] == "UNSEALED"
    status = copy.deepcopy(STATUS)
    status["asked"] = {"routes": [{"sealed": "no", "requests": 3}, {"sealed": "xwing", "requests": 9}]}
    assert any("UNSEALED: 3" in line for line in status_lines(status, PLAIN))
    assert not any("UNSEALED" in line for line in status_lines(STATUS, PLAIN))


def test_who_is_cut_off_and_why_is_in_the_status() -> None:
    cut = {"endpoint_id": "ab" * 32, "reason": "bad \x1b[2Jsignature", "times": 2, "left_s": 90.0}
    lines = status_lines({**STATUS, "cut_off": [cut]}, PLAIN)
    assert [line for line in lines if line.startswith("cut off")] == [
        f"cut off    abababababab… for {span(90.0)} more: bad \\x1b[2Jsignature"
    ]
    assert not [line for line in status_lines(STATUS, PLAIN) if line.startswith("cut off")]
