"""What becomes of every parameter of the OpenAI API: works, passed on, without effect, or refused by name.

The one table of it. A model in the host's process and the translation of `/v1/responses` refuse by it, the tests walk
it, and the reference page of the API is made from it. Nothing that would change an answer is ever dropped in silence.

Source: the request types of the official SDK (openai 3.54), which a test compares with this table.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sealmesh.errors import RequestError
from sealmesh.wire.operations import Operation


class Handling(enum.Enum):
    """What becomes of one parameter."""

    WORKS = "works"  # does what OpenAI documents
    PASSED_ON = "passed on"  # reaches the engine as it was sent: works where the engine knows it
    NO_EFFECT = "no effect"  # taken, and nothing of an answer depends on it
    BY_CLIENT = "works, at the asking node"  # which answers for it and sends it to no host
    REFUSED = "refused"  # 400 `unsupported_parameter`, unless its value asks for nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of one endpoint.

    Attributes:
        name: As it stands in the request's JSON.
        in_process: At a model in the host's process; for responses, wherever they are translated to chat.
        by_url: At an engine by its URL; for responses, at one that has them natively.
        neutral: Values that ask for nothing and are taken where the parameter is refused. null always is one.
        note: What people should know.
    """

    name: str
    in_process: Handling
    by_url: Handling = Handling.PASSED_ON
    neutral: tuple[object, ...] = ()
    note: str = ""

    def asks_nothing(self, value: object) -> bool:
        """Whether a value of a refused parameter asks for nothing."""
        return value is None or any(type(value) is type(one) and value == one for one in self.neutral)


def _works(*names: str, note: str = "") -> list[Parameter]:
    return [Parameter(name=name, in_process=Handling.WORKS, note=note) for name in names]


def _idle(*names: str, note: str = "") -> list[Parameter]:
    return [Parameter(name=name, in_process=Handling.NO_EFFECT, note=note) for name in names]


def _refused(name: str, *neutral: object, note: str = "") -> Parameter:
    return Parameter(name=name, in_process=Handling.REFUSED, neutral=neutral, note=note)


def _by_client(name: str, *neutral: object, note: str) -> Parameter:
    handling = Handling.BY_CLIENT
    return Parameter(name=name, in_process=handling, by_url=handling, neutral=neutral, note=note)


_SESSION: Final = "holds a conversation together: the same host, and its own state reused"
_KEPT_NOWHERE: Final = "a host keeps nothing"
_SAMPLING: Final = _works(
    "frequency_penalty", "logit_bias", "max_tokens", "presence_penalty", "seed", "stop", "temperature", "top_p"
)
_STREAMING: Final = [
    *_works("model", "stream"),
    *_works("stream_options", note="`include_usage`; the counts reach `/metrics` without it too"),
]
_MORE_CHOICES: Final = Parameter(
    name="n", in_process=Handling.WORKS, note="in process at most 16, made one after the other, `seed` + i for choice i"
)

_CHAT: Final = [
    *_SAMPLING,
    *_STREAMING,
    _MORE_CHOICES,
    *_works("max_completion_tokens", "logprobs", "top_logprobs", "response_format"),
    *_works("messages", note="in process text only, by their place; by URL images and files as `data:` links only"),
    *_works("tools", "tool_choice", note="functions; in process not together with `response_format` or `logprobs`"),
    *_works("parallel_tool_calls", note="a model whose chat template knows no tools makes one call at a time"),
    *_works("reasoning_effort", note="by models whose chat template knows it"),
    *_works("user", "prompt_cache_key", note=_SESSION),
    *_idle("metadata", "safety_identifier", "prompt_cache_options", "prompt_cache_retention"),
    *_idle("prediction", note="a hint for speed"),
    _refused("audio"),
    _refused("function_call", note="use `tool_choice`"),
    _refused("functions", [], note="use `tools`"),
    _refused("modalities", ["text"]),
    _refused("moderation"),
    _refused("service_tier", "auto", "default"),
    _refused("store", False, note=_KEPT_NOWHERE),
    _refused("verbosity", "medium"),
    _refused("web_search_options", note="no host goes to the web for an asker"),
]

_COMPLETIONS: Final = [
    *_SAMPLING,
    *_STREAMING,
    _MORE_CHOICES,
    *_works("prompt", note="a string, tokens, or a list of either"),
    *_works("logprobs", note="in the shape of completions"),
    *_works("user", note=_SESSION),
    _refused("best_of", 1),
    _refused("echo", False),
    _refused("suffix", "", note="use an engine for infilling by its URL"),
]

_EMBEDDINGS: Final = [
    *_works("model", "input", "encoding_format", "user"),
    _refused("dimensions", note="vectors have the length that the model was made for"),
]

_RESPONSES: Final = [
    *_STREAMING,
    *_works("input", "instructions", "max_output_tokens", "temperature", "top_p", "tools", "tool_choice"),
    *_works("parallel_tool_calls"),
    *_works("text", note="`format`, and `verbosity` where it is `medium`"),
    *_works("reasoning", note="`effort`, by engines that know it"),
    *_works("metadata", note="said back"),
    *_works("user", "prompt_cache_key", note=_SESSION),
    *_idle("safety_identifier", "prompt_cache_retention", "prompt_cache_options"),
    *_idle("max_tool_calls", note="it bounds built-in tools, and there are none"),
    _by_client("previous_response_id", note="kept in memory only, one hour at most"),
    _by_client("store", False, note="true unless it is said to be false"),
    _refused("background", False),
    _refused("conversation", note="use `previous_response_id`"),
    _refused("include", []),
    _refused("prompt", note="no templates are kept"),
    _refused("service_tier", "auto", "default"),
    _refused("top_logprobs", 0),
    _refused("truncation", "disabled"),
    _refused("moderation"),
    _refused("access_programs"),
    _refused("background_options"),
    _refused("context_management"),
    _refused("image"),
]


def _by_name(listed: list[Parameter]) -> Mapping[str, Parameter]:
    return {one.name: one for one in sorted(listed, key=lambda one: one.name)}


#: Every parameter that OpenAI documents, by endpoint and name.
PARAMETERS: Final[Mapping[Operation, Mapping[str, Parameter]]] = {
    Operation.CHAT_COMPLETIONS: _by_name(_CHAT),
    Operation.COMPLETIONS: _by_name(_COMPLETIONS),
    Operation.EMBEDDINGS: _by_name(_EMBEDDINGS),
    Operation.RESPONSES: _by_name(_RESPONSES),
}


_NOT_AT_HOSTS: Final = (Handling.REFUSED, Handling.BY_CLIENT)


def refuse_unsupported(operation: Operation, fields: Mapping[str, object], *, where: str) -> None:
    """Refuse at a host what the table says is refused, or is the asking node's affair, by its name.

    Args:
        operation: Which endpoint.
        fields: The request's top level, decoded.
        where: Words for who cannot do it, such as "this model".

    Raises:
        RequestError: 400 `unsupported_parameter`; its message holds nothing of a value.
    """
    for name, parameter in PARAMETERS[operation].items():
        if parameter.in_process in _NOT_AT_HOSTS and not parameter.asks_nothing(fields.get(name)):
            note = f": {parameter.note}" if parameter.note else ""
            raise RequestError(
                400, "unsupported_parameter", f"`{name}`, or its value, cannot be used with {where}{note}.", param=name
            )
