"""What the tools that fetch a model are given."""

from __future__ import annotations

from sealmesh.backend.fetch import environment_of_tools


def test_tools_get_the_users_index_settings_and_none_of_our_secrets() -> None:
    kept = {"PATH": "/bin", "UV_INDEX_URL": "x", "HTTPS_PROXY": "y", "TMPDIR": "/t"}
    secrets = {"SEALMESH_API_KEY": "k", "SEALMESH_TICKET": "t", "SEALMESH_BACKEND_KEY": "b"}
    assert environment_of_tools({**kept, **secrets}) == kept
