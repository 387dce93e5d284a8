"""What a process asks of its system before it serves."""

import subprocess
import sys

import pytest

PROBE = """
import resource
from libs.serve import allow_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 512))
allow_open_files({needed})
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("needed", "allowed", "told"), [(100, 128, False), (256, 256, False), (1000, 512, True)])
def test_limit_of_open_files_is_raised_as_far_as_it_goes(needed: int, allowed: int, told: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(needed=needed)], capture_output=True, text=True, check=True, timeout=60
    )
    assert f"({allowed}, 512)" in done.stdout
    assert ("few_open_files" in done.stdout) == told
