"""The test kit is usable by outsiders: the standard library and softdpu.spec are all that it needs."""

import subprocess
import sys

SHOW = """
import sys
import softdpu.testkit
print(*sorted(name for name in sys.modules if name.split(".")[0] not in sys.stdlib_module_names))
"""


def test_imports_nothing_but_the_specification() -> None:
    command = [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{SHOW}"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    allowed = ("softdpu.spec", "softdpu.testkit")
    assert [name for name in loaded if not name.startswith(allowed)] == ["__main__", "softdpu"]
