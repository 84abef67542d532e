"""Writes docs/reference/openapi.json, what the API takes and says; tests/architecture/test_openapi.py compares.

What is described is what this node itself looks at. All other fields are the engine's affair, so nothing forbids them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sealmesh
from sealmesh.api.errors import CODES
from sealmesh.wire.operations import Operation

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "openapi.json"
JSON = "application/json"
SSE = "text/event-stream"
NAMED = {"type": "string", "minLength": 1}
MANY = {"type": "array", "minItems": 1}

#: Of each operation: what it does, the field that carries the question, and an example.
QUESTIONS: dict[Operation, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    Operation.CHAT_COMPLETIONS: (
        "Answer a conversation",
        "messages",
        MANY,
        {"messages": [{"role": "user", "content": "Say hello."}]},
    ),
    Operation.COMPLETIONS: (
        "Continue a text",
        "prompt",
        {"anyOf": [{"type": "string"}, MANY]},
        {"prompt": "Once upon a time"},
    ),
    Operation.EMBEDDINGS: (
        "Turn texts into vectors",
        "input",
        {"anyOf": [{"type": "string"}, MANY]},
        {"input": ["one", "two"]},
    ),
    Operation.RESPONSES: (
        "Answer by the Responses API",
        "input",
        {"anyOf": [{"type": "string"}, {**MANY, "items": {"$ref": "#/components/schemas/Message"}}]},
        {"input": "Say hello."},
    ),
}


def errors() -> dict[str, Any]:
    """Every status of an error, with the codes of ours that have it; an engine's own come as they are."""
    by_status: dict[int, list[str]] = {}
    for row in CODES.values():
        by_status.setdefault(row.status, []).append(row.code)
    content = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    found: dict[str, Any] = {
        str(status): {"description": ", ".join(codes), "content": content}
        for status, codes in sorted(by_status.items())
    }
    for group in ("4XX", "5XX"):
        found[group] = {"description": "What the host's engine says", "content": content}
    return found


def error_responses() -> dict[str, Any]:
    """The same, by reference."""
    return {status: {"$ref": f"#/components/responses/{status}"} for status in errors()}


def asking(operation: Operation) -> dict[str, Any]:
    """One operation that a host answers."""
    summary, name, schema, example = QUESTIONS[operation]
    properties: dict[str, Any] = {
        "model": {**NAMED, "description": "A name that /v1/models lists."},
        name: schema,
        "user": {"type": ["string", "null"], "description": "Keeps a conversation at one host."},
        "prompt_cache_key": {"type": ["string", "null"], "description": "The same, and goes first."},
    }
    answers: dict[str, Any] = {JSON: {"schema": {"type": "object"}}}
    if operation is not Operation.EMBEDDINGS:
        properties["stream"] = {"type": ["boolean", "null"]}
        answers[SSE] = {"schema": {"$ref": "#/components/schemas/Event"}}
    if operation is Operation.RESPONSES:
        properties["previous_response_id"] = {"type": ["string", "null"], "description": "An answer to go on from."}
        properties["store"] = {"type": ["boolean", "null"], "description": "Keep the answer at this node for an hour."}
    body = {"type": "object", "required": ["model", name], "properties": properties}
    return {
        "operationId": operation.name.lower(),
        "summary": summary,
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": body, "example": {"model": "smollm2-135m", **example}}},
        },
        "responses": {"200": {"description": "The host's answer", "content": answers}, **error_responses()},
    }


def reading(name: str, summary: str, answer: str, *parameters: str) -> dict[str, Any]:
    """One thing that is read (HEAD, which says the same without its body, is not listed)."""
    content = {JSON: {"schema": {"$ref": f"#/components/schemas/{answer}"}}}
    found: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "responses": {"200": {"description": "What there is", "content": content}, **error_responses()},
    }
    if parameters:
        found["parameters"] = [{"name": each, "in": "path", "required": True, "schema": NAMED} for each in parameters]
    return {"get": found}


def description() -> dict[str, Any]:
    """The whole of it."""
    paths: dict[str, Any] = {operation.path: {"post": asking(operation)} for operation in Operation}
    paths["/v1/models"] = reading("models", "List the models", "Models")
    paths["/v1/models/{id}"] = reading("model", "Describe one model", "Model", "id")
    paths["/v1/mesh/attestation/{model}"] = reading(
        "attestation", "What was checked of each host of a model", "Listing", "model"
    )
    kept = reading("kept_response", "Show an answer that this node keeps", "Kept", "id")
    paths["/v1/responses/{id}"] = {
        **kept,
        "delete": {**kept["get"], "operationId": "forget_response", "summary": "Forget an answer that this node keeps"},
    }
    text = {"type": "string"}
    model = {
        "id": text,
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": text,
        "context_length": {"type": "integer", "minimum": 0},
        "sealmesh": {
            "type": "object",
            "required": ["usable", "hosts", "best_tier", "refused"],
            "properties": {
                "usable": {"type": "boolean"},
                "hosts": {"type": "integer", "minimum": 0},
                "best_tier": text,
                "refused": {"type": "object", "additionalProperties": text},
            },
        },
    }
    listing = {"object": {"const": "list"}, "data": {"type": "array", "items": {"type": "object"}}}
    error = {"message": text, "type": text, "param": {"type": ["string", "null"]}, "code": {"type": ["string", "null"]}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sealmesh",
            "version": sealmesh.__version__,
            "description": "An OpenAI-compatible API: prompts leave this machine sealed. See openai.md and errors.md.",
        },
        "servers": [{"url": "http://127.0.0.1:9337"}],
        "paths": paths,
        "components": {
            "responses": errors(),
            "schemas": {
                "Kept": {
                    "type": "object",
                    "required": ["id", "object"],
                    "properties": {"id": text, "object": {"const": "response"}},
                },
                "Event": {"type": "object", "required": ["data"], "properties": {"event": text, "data": text}},
                "Message": {
                    "type": "object",
                    "required": ["role", "content"],
                    "properties": {"role": {"enum": ["system", "developer", "user", "assistant"]}, "content": text},
                },
                "Model": {"type": "object", "required": list(model), "properties": model},
                "Models": {
                    "type": "object",
                    "required": list(listing),
                    "properties": {
                        **listing,
                        "data": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}},
                    },
                },
                "Listing": {"type": "object", "required": list(listing), "properties": listing},
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {"error": {"type": "object", "required": ["message"], "properties": error}},
                },
            },
        },
    }


def page() -> str:
    """The file's text."""
    return json.dumps(description(), indent=1) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
