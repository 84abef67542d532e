"""The table of parameters holds what OpenAI's own types hold, and refuses by name."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params

from sealmesh.errors import RequestError
from sealmesh.wire.operations import Operation
from sealmesh.wire.parameters import PARAMETERS, Handling, refuse_unsupported

TYPES: dict[Operation, Any] = {
    Operation.CHAT_COMPLETIONS: chat_create_params.CompletionCreateParamsBase,
    Operation.COMPLETIONS: completion_create_params.CompletionCreateParamsBase,
    Operation.EMBEDDINGS: embedding_create_params.EmbeddingCreateParams,
    Operation.RESPONSES: response_create_params.ResponseCreateParamsBase,
}


@pytest.mark.parametrize("operation", Operation)
def test_every_parameter_of_the_official_sdk_is_in_the_table_and_no_other(operation: Operation) -> None:
    documented = set(TYPES[operation].__annotations__) | ({"stream"} - {operation is Operation.EMBEDDINGS and "stream"})
    assert set(PARAMETERS[operation]) == documented


REFUSED = [
    (operation, name)
    for operation in Operation
    for name, one in PARAMETERS[operation].items()
    if one.in_process in (Handling.REFUSED, Handling.BY_CLIENT)
]


@pytest.mark.parametrize(("operation", "name"), REFUSED, ids=lambda one: getattr(one, "name", one))
def test_what_is_refused_is_refused_by_its_name_and_without_its_value(operation: Operation, name: str) -> None:
    with pytest.raises(RequestError) as refused:
        refuse_unsupported(operation, {name: "a SECRET value"}, where="this model")
    assert (refused.value.status, refused.value.code, refused.value.param) == (400, "unsupported_parameter", name)
    assert "SECRET" not in refused.value.message


@pytest.mark.parametrize(("operation", "name"), REFUSED, ids=lambda one: getattr(one, "name", one))
def test_what_asks_for_nothing_is_taken(operation: Operation, name: str) -> None:
    for value in (None, *PARAMETERS[operation][name].neutral):
        refuse_unsupported(operation, {name: value}, where="this model")


def test_a_truth_value_is_no_number() -> None:
    with pytest.raises(RequestError):
        refuse_unsupported(Operation.COMPLETIONS, {"best_of": True}, where="this model")
