"""A25: no verification is on a request's way, whatever hosts send: asking looks up what was judged before.

By structure: nothing that a request passes through names the verifier's procedure; and by counting, over a mesh in
memory.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from tests.attacks.test_a06_required_hosts import ASKED, KEY, dialer

from kit.chips import REQUIRING, ChipAttester
from kit.proven import World
from kit.virtual_time import VirtualTime
from sealmesh.errors import HostLostError
from sealmesh.transport.base import Stream

SOURCE = Path(__file__).parents[2] / "src/sealmesh"
#: What a request passes through, from the app's socket to the seal.
WAY = [
    *(SOURCE / "api").glob("*.py"),
    *(SOURCE / "routing").glob("*.py"),
    *(SOURCE / "sealed").glob("*.py"),
    *(SOURCE / "client" / name for name in ("dial.py", "answer.py", "asker.py", "watch.py", "counters.py")),
]
#: What judges: modules that nothing on the way may import, but for the names of what they hand out.
JUDGES = ("sealmesh.attestation.verifier", "sealmesh.attestation.vendors", "sealmesh.attestation.kinds")
JUDGES += (
    "sealmesh.attestation.appraise",
    "sealmesh.client.verify",
    "sealmesh.client.judging",
    "sealmesh.client.activate",
)
_Result = TypeVar("_Result")


def imported(path: Path) -> set[str]:
    return {
        name
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [one.name for one in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }


@pytest.mark.parametrize("path", WAY, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_nothing_on_a_requests_way_imports_what_judges(path: Path) -> None:
    assert not [name for name in imported(path) for judge in JUDGES if name.startswith(judge)]


def test_looking_up_a_verdict_waits_for_nothing_and_judges_nothing() -> None:
    """`HostVerifier.verified` and what it calls of its own class are plain functions without a way to the judge."""
    tree = ast.parse((SOURCE / "client/verify.py").read_text())
    (verifier,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "HostVerifier")
    methods = {node.name: node for node in verifier.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    seen, waiting = set(), ["verified", "suite_for", "refusals", "failed_factors", "waiting", "verdict"]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in methods:
            continue
        seen.add(name)
        assert isinstance(methods[name], ast.FunctionDef), name
        called = {one.attr for one in ast.walk(methods[name]) if isinstance(one, ast.Attribute)}
        assert not called & {"judge_untrusted", "extend_untrusted", "in_time", "verify_live_untrusted"}, name
        waiting += called


async def test_requests_judge_nothing_and_ask_nobody() -> None:
    judged = 0

    async def counting(judge: Callable[[], _Result]) -> _Result:
        nonlocal judged
        judged += 1
        return judge()

    async def serve(_: bytes, stream: Stream) -> None:
        await stream.reset()

    time = VirtualTime()
    world = World(
        time=time,
        policy=REQUIRING,
        attester=ChipAttester(KEY, time),
        memories={"run_judgement": counting},
        serve=serve,
    )
    async with world.running():
        await world.advance(5)
        asking = dialer(world)
        before = (judged, world.asked)
        assert judged > 0
        for _ in range(20):
            with pytest.raises(HostLostError):
                await asking.ask(ASKED)
        assert world.sealed_opened == 20
        assert (judged, world.asked) == before
