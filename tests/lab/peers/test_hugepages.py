"""Hugepages are borrowed."""

import os
import subprocess
import sys
from pathlib import Path

from softdpu.lab.peers import Hugepages
from softdpu.lab.peers.hugepages import POOL, sweep

LEFT = """
import os
from softdpu.lab.peers import Hugepages
pages = Hugepages(8).__enter__()
print(pages.path, flush=True)
os._exit(0)
"""


def test_the_mount_goes_with_the_block() -> None:
    with Hugepages(8) as pages:
        (pages.path / "file").write_bytes(b"")
        assert os.path.ismount(pages.path)
        assert int((POOL / "nr_hugepages").read_text()) >= 4
    assert not pages.path.exists()


def test_what_a_killed_run_left_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True, check=True)
    left = Path(done.stdout.strip())
    assert os.path.ismount(left)
    sweep()
    assert not left.exists()
