"""`sealmesh chat`: a conversation in the terminal, and after each answer what was checked for it.

Nothing of a conversation is written to a disk; the line editor's history ends with the program.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from sealmesh.attestation.words import tier_words
from sealmesh.cli.failures import describe
from sealmesh.cli.node_api import NodeApi
from sealmesh.cli.terminal import AnswerEscaper, Tone, escape_peer_text, say, short_id
from sealmesh.errors import ConfigError, RequestError, SealmeshError
from sealmesh.limits import MIB

PROMPT_MAX: Final = 8 * MIB  # characters from a pipe; no model's context is larger
_FENCE: Final = '"""'
_HELP: Final = """\
  /model [NAME]   change the model, or list what there is
  /system [TEXT]  set what the model is told before the conversation, or take it away
  /clear          begin a new conversation
  /quit           leave (also Ctrl-D)
A line that ends in \\ goes on in the next; \"\"\" begins and ends a longer text. Ctrl-C stops an answer.
A text that begins with / is written with //."""


def run_chat(model: str | None, home: Path | None) -> int:
    """Talk with a model; with a pipe on stdin, answer it as one prompt.

    Raises:
        ConfigError: No node runs, or it is not clear which model is meant.
        SealmeshError: The answer to a piped prompt failed.
    """
    api = NodeApi.find(home)
    if not sys.stdin.isatty():
        chosen = choose_model(api, model, ask=None)
        return answer_once(api, chosen, sys.stdin.read(PROMPT_MAX + 1), sys.stdout)
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - line editing and history for input()
    chosen = choose_model(api, model, ask=input)
    return Chat(api, chosen, read=input, out=sys.stdout, tone=Tone.of(sys.stdout)).run()


def choose_model(api: NodeApi, wanted: str | None, *, ask: Callable[[str], str] | None) -> str:
    """The model to talk with: the one named, else the only usable one, else the one that the user picks.

    Raises:
        ConfigError: There is none, or several and nobody to ask.
    """
    if wanted:
        return wanted
    listed = api.models()
    usable = [str(model["id"]) for model in listed if model.get("sealmesh", {}).get("usable", True)]
    if len(usable) == 1:
        return usable[0]
    if not usable:
        why = "none of them meets your policy; see: sealmesh models" if listed else "no host is known"
        raise ConfigError(f"there is no model to talk with now: {why}")
    if ask is None:
        raise ConfigError(f"name a model: {', '.join(escape_peer_text(name) for name in usable[:20])}")
    for number, name in enumerate(usable, 1):
        say(f"{number:3}  {escape_peer_text(name)}")
    while True:
        try:
            reply = ask("model number: ").strip()
        except EOFError:
            raise ConfigError("no model was chosen") from None
        if reply.isascii() and reply.isdigit() and 1 <= int(reply) <= len(usable):
            return usable[int(reply) - 1]
        if reply in usable:
            return reply


def answer_once(api: NodeApi, model: str, prompt: str, out: IO[str]) -> int:
    """Print the answer to one prompt, and nothing else.

    Raises:
        ConfigError: The prompt is empty or too long.
        SealmeshError: The answer failed; what was printed is then not the whole.
    """
    if not prompt.strip() or len(prompt) > PROMPT_MAX:
        raise ConfigError(f"the prompt on stdin is empty, or longer than {PROMPT_MAX} characters")
    escaper = AnswerEscaper()
    clean, last = out.isatty(), ""
    with api.chat({"model": model, "messages": [{"role": "user", "content": prompt}]}) as answer:
        for piece in answer.pieces():
            # A pipe gets the bytes that the model wrote; only a terminal is protected from them.
            out.write(escaper.escape(piece) if clean else piece)
            out.flush()
            last = piece
    out.write("" if last.endswith("\n") else "\n")
    return 0


@dataclass(slots=True)
class Conversation:
    """What was said so far.

    Attributes:
        system: What the model is told first.
        messages: Turns of user and assistant.
        key: Holds the conversation together for routing and for the model's cache; new for each.
    """

    system: str = ""
    messages: list[dict[str, str]] = field(default_factory=list, repr=False)
    key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    def body(self, model: str) -> dict[str, object]:
        """The request for the next answer."""
        first = [{"role": "system", "content": self.system}] if self.system else []
        return {"model": model, "messages": [*first, *self.messages], "prompt_cache_key": self.key}


class Chat:
    """A conversation with somebody at a terminal.

    Args:
        api: The node.
        model: What to talk with.
        read: Reads a line after showing a prompt; raises EOFError at the end.
        out: The terminal.
        tone: Its colour.
    """

    def __init__(self, api: NodeApi, model: str, *, read: Callable[[str], str], out: IO[str], tone: Tone) -> None:
        self._api = api
        self._model = model
        self._read = read
        self._out = out
        self._tone = tone
        self._talk = Conversation()
        self._commands: Mapping[str, Callable[[str], None]] = {
            "/help": lambda _: self._note(_HELP),
            "/model": self._change_model,
            "/system": self._change_system,
            "/clear": lambda _: self._begin_anew(),
        }

    def run(self) -> int:
        """Talk until the user leaves; return the exit code."""
        self._note(f"{escape_peer_text(self._model)}. /help says what can be typed here.")
        while True:
            try:
                text = self._read_text()
            except EOFError:
                self._out.write("\n")
                return 0
            except KeyboardInterrupt:
                self._note("\n(/quit or Ctrl-D leaves)")
                continue
            word, _, rest = text.strip().partition(" ")
            if word == "/quit":
                return 0
            if word in self._commands:
                self._guard(self._commands[word], rest.strip())
            elif word.startswith("/") and not word.startswith("//"):
                self._note(f"there is no {escape_peer_text(word)}; /help lists what there is")
            elif word:
                self._ask(text.strip().removeprefix("/") if word.startswith("//") else text)

    def _read_text(self) -> str:
        """One message of the user, which may have several lines."""
        line = self._read("> ")
        if line.strip().startswith(_FENCE):
            lines = [line.strip().removeprefix(_FENCE)]
            while not lines[-1].rstrip().endswith(_FENCE):
                lines.append(self._read("… "))
            lines[-1] = lines[-1].rstrip().removesuffix(_FENCE)
            return "\n".join(lines).strip("\n")
        lines = [line]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1].removesuffix("\\")
            lines.append(self._read("… "))
        return "\n".join(lines)

    def _ask(self, text: str) -> None:
        """Send one message, show the answer as it comes, then what was checked for it."""
        messages = self._talk.messages
        messages.append({"role": "user", "content": text})
        said: list[str] = []
        headers: dict[str, str] = {}
        try:
            with self._api.chat(self._talk.body(self._model)) as answer:
                headers = answer.headers
                escaper = AnswerEscaper()
                for piece in answer.pieces():
                    said.append(piece)
                    self._out.write(escaper.escape(piece))
                    self._out.flush()
            self._out.write("" if said and said[-1].endswith("\n") else "\n")
        except KeyboardInterrupt:
            self._note("\n(stopped)")
        except SealmeshError as error:
            self._out.write("\n" if said else "")
            self._fail(error)
            messages.pop()  # an answer that failed is not part of the conversation
            return
        if said:
            messages.append({"role": "assistant", "content": "".join(said)})
        else:
            messages.pop()
        if headers:
            self._note(lock_line(headers))

    def _change_model(self, name: str) -> None:
        if name:
            self._model = name
            self._note(f"now talking with {escape_peer_text(name)}")
            return
        for model in self._api.models():
            marks = "" if model.get("sealmesh", {}).get("usable", True) else "  (not usable under your policy)"
            self._note(f"  {escape_peer_text(str(model['id']))}{marks}")

    def _change_system(self, text: str) -> None:
        self._talk.system = text
        self._note("the model is told this before the conversation" if text else "the model is told nothing beforehand")

    def _begin_anew(self) -> None:
        self._talk = Conversation(system=self._talk.system)
        self._note("a new conversation")

    def _guard(self, command: Callable[[str], None], rest: str) -> None:
        try:
            command(rest)
        except SealmeshError as error:
            self._fail(error)

    def _fail(self, error: SealmeshError) -> None:
        words = describe(error)[1]
        if isinstance(error, RequestError) and error.code == "context_length_exceeded":
            words += " /clear begins a new conversation."
        self._note(self._tone.style("not answered: ", "red") + words, dim=False)

    def _note(self, text: str, *, dim: bool = True) -> None:
        self._out.write((self._tone.style(text, "dim") if dim else text) + "\n")
        self._out.flush()


def lock_line(headers: Mapping[str, str]) -> str:
    """What was checked for an answer, in plain words, from its `x-sealmesh-*` headers."""
    sealed = headers.get("x-sealmesh-sealed", "")
    host = short_id(headers.get("x-sealmesh-host", ""))
    tier = escape_peer_text(headers.get("x-sealmesh-tier", "none"))
    match sealed:
        case "local":
            return f"answered by this node's own model ({host}): nothing was sent to another machine"
        case "no":
            return f"NOT SEALED: host {host} is a plain one; it and whoever carried this could read it"
        case "xwing" | "x25519":
            return f"sealed ({sealed}) to host {host}, tier {tier}: {tier_words(tier)}"
        case _:
            return "nothing is known about how this answer came: the node said nothing of it"
