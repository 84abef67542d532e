"""A conversation: what is sent, what is shown, what is kept."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import pytest

from kit.fake_node import PROOF, FakeNode, Reply, error, events, model
from sealmesh.cli.chat import Chat, answer_once, choose_model, lock_line
from sealmesh.cli.node_api import NodeApi
from sealmesh.cli.terminal import Tone
from sealmesh.errors import ConfigError, TransportError


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as running:
        running.models(model("smollm2-135m"), model("big", usable=False))
        yield running


def typed(*lines: str | type[BaseException]) -> Callable[[str], str]:
    waiting = iter(lines)

    def read(prompt: str) -> str:
        line = next(waiting, EOFError)
        if isinstance(line, str):
            return line
        raise line

    return read


def talk(node: FakeNode, *lines: str | type[BaseException], out: io.StringIO | None = None) -> str:
    out = io.StringIO() if out is None else out
    chat = Chat(NodeApi(node.state), "smollm2-135m", read=typed(*lines), out=out, tone=Tone(coloured=False))
    assert chat.run() == 0
    return out.getvalue()


def turns(node: FakeNode, number: int = -1) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in node.asked[number]["messages"]]


def test_a_conversation_is_kept_and_each_answer_has_its_line(node: FakeNode) -> None:
    node.answers += [Reply(events("Hel", "lo"), headers=PROOF), Reply(events("Yes"), headers=PROOF)]
    shown = talk(node, "hi", "really?")
    assert "Hello\nsealed (xwing) to host 3f9c3f9c3f9c…, tier self-asserted: a software key answered; " in shown
    assert turns(node) == [("user", "hi"), ("assistant", "Hello"), ("user", "really?")]
    assert node.asked[0]["prompt_cache_key"] == node.asked[1]["prompt_cache_key"]


def test_clear_begins_a_new_conversation_with_a_new_key(node: FakeNode) -> None:
    node.answers += [Reply(events("a")), Reply(events("b"))]
    talk(node, "one", "/clear", "two")
    assert turns(node) == [("user", "two")]
    assert node.asked[0]["prompt_cache_key"] != node.asked[1]["prompt_cache_key"]


def test_system_and_model(node: FakeNode) -> None:
    node.answers += [Reply(events("a")), Reply(events("b"))]
    shown = talk(node, "/system Be brief.", "one", "/system", "/model big", "/model", "two")
    assert turns(node, 0) == [("system", "Be brief."), ("user", "one")]
    assert turns(node, 1)[0] == ("user", "one")
    assert node.asked[1]["model"] == "big"
    assert "big  (not usable under your policy)" in shown


def test_longer_texts(node: FakeNode) -> None:
    node.answers += [Reply(events("a")), Reply(events("b")), Reply(events("c"))]
    talk(node, "one\\", "two", '"""', "x", "", 'y"""', "//path")
    assert [turns(node, number)[-1][1] for number in range(3)] == ["one\ntwo", "x\n\ny", "/path"]


def test_help_unknown_words_and_empty_lines_ask_nothing(node: FakeNode) -> None:
    shown = talk(node, "/help", "/nonsense", "", "   ", "/quit", "not read")
    assert "/system [TEXT]" in shown
    assert "there is no /nonsense" in shown
    assert node.asked == []


def test_ctrl_c_at_the_prompt_does_not_leave(node: FakeNode) -> None:
    node.answers.append(Reply(events("a")))
    assert "(/quit or Ctrl-D leaves)" in talk(node, KeyboardInterrupt, "hi")
    assert len(node.asked) == 1


class InterruptedAt(io.StringIO):
    """A terminal at which Ctrl-C is pressed when a word appears."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self._word = word

    def write(self, text: str) -> int:
        written = super().write(text)
        if text == self._word:
            raise KeyboardInterrupt
        return written


def test_ctrl_c_stops_the_answer_not_the_program(node: FakeNode) -> None:
    node.answers += [Reply(events("one ", "two", end=False), headers=PROOF, hold=True), Reply(events("more"))]
    shown = talk(node, "count", "go on", out=InterruptedAt("two"))
    assert node.left.wait(10)  # the node, and so the host, was told
    assert "one two\n(stopped)\nsealed (xwing)" in shown
    assert turns(node) == [("user", "count"), ("assistant", "one two"), ("user", "go on")]


def test_a_failed_answer_is_not_part_of_the_conversation(node: FakeNode) -> None:
    node.answers += [
        Reply(error(403, "no_attested_host", "No host meets the policy."), 403),
        Reply(events("half", end=False)),
        Reply(error(400, "context_length_exceeded", "Too long."), 400),
        Reply(events("well")),
    ]
    shown = talk(node, "one", "two", "three", "four")
    assert "not answered: No host meets the policy." in shown
    assert "half\nnot answered: the connection failed: the answer has no proper end" in shown
    assert "Too long. /clear begins a new conversation." in shown
    assert turns(node) == [("user", "four")]


def test_an_answers_escape_codes_do_not_reach_the_terminal(node: FakeNode) -> None:
    node.answers.append(Reply(events("\x1b]52;c;aGk=\x07ok"), headers=PROOF))
    shown = talk(node, "hi")
    assert "\\x1b]52;c;aGk=\\x07ok" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("sealed", "words"),
    [
        ("xwing", "sealed (xwing) to host 3f9c"),
        ("x25519", "sealed (x25519) to host 3f9c"),
        ("local", "nothing was sent to another machine"),
        ("no", "NOT SEALED"),
        ("maybe", "nothing is known"),
        ("", "nothing is known"),
    ],
)
def test_lock_line(sealed: str, words: str) -> None:
    assert words in lock_line({**PROOF, "x-sealmesh-sealed": sealed})


# --- without a terminal --------------------------------------------------------------------------------------------


def test_a_pipe_gets_the_answer_and_nothing_else(node: FakeNode) -> None:
    for last in ("b", "b\n"):  # exactly one line's end, whether the model wrote one or not
        node.answers.append(Reply(events("a\x1b", last), headers=PROOF))
        out = io.StringIO()
        assert answer_once(NodeApi(node.state), "smollm2-135m", "hi\n", out) == 0
        assert out.getvalue() == "a\x1bb\n"
    assert turns(node) == [("user", "hi\n")]


def test_a_pipes_cut_answer_is_an_error(node: FakeNode) -> None:
    node.answers.append(Reply(events("a", end=False)))
    with pytest.raises(TransportError, match="not the whole"):
        answer_once(NodeApi(node.state), "smollm2-135m", "hi", io.StringIO())


def test_an_empty_pipe_is_a_mistake(node: FakeNode) -> None:
    with pytest.raises(ConfigError, match="empty"):
        answer_once(NodeApi(node.state), "smollm2-135m", " \n", io.StringIO())


# --- which model ---------------------------------------------------------------------------------------------------


def test_the_only_usable_model_is_taken(node: FakeNode) -> None:
    api = NodeApi(node.state)
    assert choose_model(api, None, ask=None) == "smollm2-135m"
    assert choose_model(api, "named", ask=None) == "named"


def test_with_several_models_the_user_picks(node: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    node.models(model("a"), model("b\x1b[2J"))
    api = NodeApi(node.state)
    assert choose_model(api, None, ask=typed("3", "x", "0", "2")) == "b\x1b[2J"
    assert choose_model(api, None, ask=typed("a")) == "a"
    assert "\x1b" not in capsys.readouterr().err
    with pytest.raises(ConfigError, match="name a model: a, b"):
        choose_model(api, None, ask=None)
    with pytest.raises(ConfigError, match="no model was chosen"):
        choose_model(api, None, ask=typed())


def test_without_a_usable_model_there_are_words(node: FakeNode) -> None:
    api = NodeApi(node.state)
    node.models(model("a", usable=False))
    with pytest.raises(ConfigError, match="none of them meets your policy"):
        choose_model(api, None, ask=None)
    node.models()
    with pytest.raises(ConfigError, match="no host is known"):
        choose_model(api, None, ask=None)
