from __future__ import annotations

from pathlib import Path

import pytest

from sealmesh.backend.echo import EchoBackend
from sealmesh.backend.llama import LlamaBackend
from sealmesh.backend.openai import OpenAIBackend
from sealmesh.backend.select import open_backend
from sealmesh.errors import ConfigError


@pytest.mark.parametrize(
    ("reference", "kind", "place"),
    [
        ("echo:", EchoBackend, "in-process"),
        ("echo:?tokens=3", EchoBackend, "in-process"),
        ("http://127.0.0.1:1/v1", OpenAIBackend, "local"),
        ("https://engine.example", OpenAIBackend, "remote"),
        ("unix:/run/x.sock", OpenAIBackend, "local"),
        ("smollm2-135m", LlamaBackend, "in-process"),
        ("./x.gguf", LlamaBackend, "in-process"),
    ],
)
def test_a_reference_means_one_backend(reference: str, kind: type, place: str, tmp_path: Path) -> None:
    backend = open_backend(reference, cache_dir=tmp_path, parallel=2)
    assert type(backend) is kind
    assert backend.place == place


async def test_a_model_that_nobody_knows_is_refused_at_start(tmp_path: Path) -> None:
    backend = open_backend("gpt-5", cache_dir=tmp_path)
    with pytest.raises(ConfigError, match="unknown model"):
        await backend.start()
