"""Each row of docs/reference/openai.md, executed through the client's API of a real mesh."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from tests.acceptance.client_mesh import EMBEDDER, ENGINE, MODEL, NATIVE, ClientMesh
from tests.acceptance.openai_rows import BASE, ERRORS, EVENTS, ErrorRow, EventRow, request, value_for

from sealmesh.wire.operations import Operation
from sealmesh.wire.parameters import PARAMETERS, Handling, Parameter

pytestmark = [pytest.mark.model, pytest.mark.process, pytest.mark.xdist_group("clients")]
ALL = [
    pytest.param(operation, one, id=f"{operation.name.lower()}-{name}")
    for operation, listed in PARAMETERS.items()
    for name, one in listed.items()
    if name != "model"  # every other row asks for one
]
IN_PROCESS = {operation: EMBEDDER if operation is Operation.EMBEDDINGS else MODEL for operation in Operation}
BY_URL = {operation: NATIVE if operation is Operation.RESPONSES else ENGINE for operation in Operation}


def post(mesh: ClientMesh, operation: Operation, body: dict[str, Any]) -> httpx.Response:
    return mesh.http.post(f"{mesh.client.api_url}{operation.path}", json=body)


def tried(mesh: ClientMesh, operation: Operation, one: Parameter, model: str) -> dict[str, Any]:
    if one.name == "previous_response_id":
        kept = post(mesh, operation, {**BASE[operation], "model": model, "store": True}).json()
        return {**request(operation, one.name, kept["id"]), "model": model}
    return {**request(operation, one.name, value_for(operation, one.name)), "model": model}


@pytest.mark.parametrize(("operation", "one"), ALL)
def test_a_parameter_at_a_model_in_the_hosts_process(
    client_mesh: ClientMesh, operation: Operation, one: Parameter
) -> None:
    answer = post(client_mesh, operation, tried(client_mesh, operation, one, IN_PROCESS[operation]))
    if one.in_process is not Handling.REFUSED:
        assert answer.status_code == 200, answer.text
        return
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "unsupported_parameter", one.name)
    for value in one.neutral:
        body = {**request(operation, one.name, value), "model": IN_PROCESS[operation]}
        assert post(client_mesh, operation, body).status_code == 200


@pytest.mark.parametrize(("operation", "one"), ALL)
def test_a_parameter_at_an_engine_by_its_url(client_mesh: ClientMesh, operation: Operation, one: Parameter) -> None:
    body = tried(client_mesh, operation, one, BY_URL[operation])
    answer = post(client_mesh, operation, body)
    assert answer.status_code == 200, answer.text
    path, received = client_mesh.asked(BY_URL[operation])
    assert path == operation.path
    if one.by_url is Handling.BY_CLIENT:
        assert received.get(one.name) in (None, False)  # nothing of it reaches a host
    else:
        assert received[one.name] == body[one.name]


@pytest.mark.parametrize("row", EVENTS, ids=lambda row: f"{row.operation.name.lower()}-{row.event}")
def test_an_event_of_a_stream(client_mesh: ClientMesh, row: EventRow) -> None:
    body = {**BASE[row.operation], **row.body, "model": ENGINE, "stream": True}
    lines = post(client_mesh, row.operation, body).text.splitlines()
    data = [line[6:] for line in lines if line.startswith("data: ")]
    if row.event == "[DONE]":
        assert data[-1] == "[DONE]"
        return
    events = [json.loads(each) for each in data if each != "[DONE]"]
    if row.operation is Operation.RESPONSES:
        assert row.event in [event["type"] for event in events]
        assert f"event: {row.event}" in lines
        return
    assert any(found(event, row.event.split(".")) for event in events)


def found(value: Any, path: list[str]) -> bool:
    """Whether there is something at a path; of lists, anywhere in them."""
    if isinstance(value, list):
        return any(found(each, path) for each in value)
    if not path:
        return value is not None
    return isinstance(value, dict) and path[0] in value and found(value[path[0]], path[1:])


@pytest.mark.parametrize("row", ERRORS, ids=lambda row: f"{row.status}-{row.when.replace(' ', '_')}")
def test_an_error(client_mesh: ClientMesh, row: ErrorRow) -> None:
    url = f"{client_mesh.client.api_url}/v1/chat/completions"
    content = b"{" if row.body is None else json.dumps({**row.body, "model": row.model}).encode()
    answer = client_mesh.http.post(url, content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (row.status, row.code)
