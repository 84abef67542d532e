"""What tests of several rooms share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Lets every test directory import `kit`, the fakes that several of them share.
sys.path.insert(0, str(Path(__file__).parent))

if TYPE_CHECKING:
    from sealmesh.backend.models import ModelFile


@pytest.fixture(scope="session")
def model_file() -> ModelFile:
    """The default model, verified; fetched with the user's package tool when it is not in the cache."""
    from sealmesh.backend.models import DEFAULT_MODEL, default_cache_dir, resolve

    pytest.importorskip("xllamacpp")
    return resolve(DEFAULT_MODEL, default_cache_dir())
