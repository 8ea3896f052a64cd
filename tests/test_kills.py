"""Each command killed twice (`make kills` does so 20 times), in a process that forks well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kills import VICTIMS


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("command", VICTIMS)
def test_killed_commands_lose_and_leave_nothing(command):
    done = subprocess.run([sys.executable, "-m", "kills", "--times", "2", "--commands", command],
                          cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{command}: killed " in done.stdout
