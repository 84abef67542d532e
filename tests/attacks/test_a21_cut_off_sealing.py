"""A21: the power goes while a plain key is being sealed. The key is there after it, and once sealed in no plain file.

A process seals a home and ends itself, with no clean-up at all, before its first file operation, its second, and so on.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from sealmesh.node.home import Home

#: Ends at the operation whose number is the second argument; prints nothing else than that it ran through.
CODE = """
import os, sys
from pathlib import Path
from sealmesh.node.home import Home

class Chip:
    def seal(self, secret): return bytes(byte ^ 0x55 for byte in secret)
    unseal = seal

left = int(sys.argv[2])
def cut(event, arguments):
    global left
    if event in ("open", "os.rename", "os.remove") and sys.argv[1] in str(arguments[0]):
        left -= 1
        if not left:
            os._exit(9)

home = Home(Path(sys.argv[1]), sealer=Chip())
sys.addaudithook(cut)
home.seal_keys()
"""


class Chip:
    """What CODE seals with."""

    def seal(self, secret: bytes) -> bytes:
        return bytes(byte ^ 0x55 for byte in secret)

    unseal = seal


def test_a_cut_leaves_the_key_and_once_it_is_sealed_no_plain_one(tmp_path: Path) -> None:
    plain = Home(tmp_path / "plain")
    key = plain.endpoint_key()
    for step in range(1, 40):
        path = tmp_path / f"cut{step}"
        shutil.copytree(plain.path, path)
        ended = subprocess.run([sys.executable, "-c", CODE, str(path), str(step)], check=False, timeout=60).returncode
        assert ended in (0, 9)
        again = Home(path, sealer=Chip())
        was_sealed = again.keys_are_sealed()
        assert again.endpoint_key().public == key.public, f"lost at operation {step}"
        again.seal_keys()
        assert again.endpoint_key().public == key.public
        seed = key.seed.reveal().hex().encode()
        content = {one.name: one.read_bytes() for one in path.rglob("*") if one.is_file()}
        assert not [name for name, data in content.items() if seed in data], f"a plain copy after operation {step}"
        if not ended:
            assert was_sealed
            assert step > 3
            return
    raise AssertionError("it never ran through")
