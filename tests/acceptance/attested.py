"""Hosts with emulated chips and askers who demand them: what the tests of `--require-attested-hosts` share."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
from tests.acceptance.conftest import Mesh, Node

from kit.marker import MARKER
from kit.swtpm import SoftwareTpm

PROMPT = f"the asparagus is under the third bridge {MARKER}"


def give_issuers(home: Path, tpm: SoftwareTpm) -> None:
    """Have a host staple what stands between its chip's certificate and the maker's root."""
    folder = home / "endorsements"
    folder.mkdir(mode=0o700, parents=True)
    home.chmod(0o700)
    (folder / "tpm-issuers.pem").write_bytes(tpm.authority.issuers)


def host_with(mesh: Mesh, tpm: SoftwareTpm, ticket: str = "") -> Node:
    """An honest host with a chip."""
    give_issuers(mesh.next_home("serve"), tpm)
    return mesh.host("--backend", "echo:", "--tpm", str(tpm.path), ticket=ticket)


def policy_file(path: Path, roots: bytes = b"", max_age: int = 600) -> Path:
    """A policy that trusts these makers of chips."""
    text = f"max_age = {max_age}\n"
    if roots:
        text += f"[tpm]\nextra_roots = [{json.dumps(roots.decode())}]\n"
    path.write_text(text)
    return path


def ask(node: Node, model: str = "echo") -> httpx.Response:
    """One chat request with the marked prompt."""
    body = {"model": model, "messages": [{"role": "user", "content": PROMPT}]}
    return httpx.post(f"{node.api_url}/v1/chat/completions", json=body, timeout=20)


def ask_until(node: Node, code: str, *, model: str = "echo", timeout_s: float = 30.0) -> dict[str, Any]:
    """Ask until the answer is an error of that code, `none` for an answer; returns the error object."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = ask(node, model)
        error = {"code": "none"} if answer.status_code == 200 else answer.json()["error"]
        if error["code"] == code:
            return error
        assert time.monotonic() < deadline, (answer.status_code, error)


def failed(error: dict[str, Any], host: Node) -> dict[str, str]:
    """The factors that a host lacks, by an error object."""
    return {one["id"]: one["status"] for one in error["failed_factors"][host.endpoint_id]}


def wait_for_evidence(client: Node, folder: Path, host: Node) -> Path:
    """The first file that a client with `--save-evidence` writes of a host."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        client.status()  # it lives, and this paces the look
        if found := sorted(folder.glob(f"{host.endpoint_id}-*.sealmesh")):
            return found[0]
    raise AssertionError("no evidence was saved")
