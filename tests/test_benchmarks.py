"""The benchmarks that CI runs: that they run at all, never how fast."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "speed.py"


def test_the_speed_benchmark_runs_in_its_quick_form():
    environment = {name: value for name, value in os.environ.items() if name != "SVQVAE_TEST_DATA"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(SCRIPT), "--quick", "--without-rivals"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    for part in ("mnist", "lincs", "classes", "predict", "quality"):
        assert f"\n{part}: " in run.stdout
    assert "svqvae published" in run.stdout
