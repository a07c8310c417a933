"""What several rooms' tests share: the folder of real data."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

# Scripts and data of `test_golden.py`.
collect_ignore = ["golden"]

# Folds of `svqvae evaluate` stay in the process of the test: starting others takes longer than the small fits of tests.
os.environ["LOKY_MAX_CPU_COUNT"] = "1"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real data, or skip where nobody named one."""
    named = os.environ.get("SVQVAE_TEST_DATA")
    if not named:
        pytest.skip("SVQVAE_TEST_DATA is unset: it names the folder of real data")
    folder = Path(named).resolve()
    if not folder.is_dir():
        pytest.fail(f"SVQVAE_TEST_DATA must name a folder; got {named}.")
    return folder


@pytest.fixture(scope="session")
def real_file(real_data: Path) -> Callable[[str], Path]:
    """Return the function that finds one file (or folder) of the real data, or fails with its name."""

    def find(name: str) -> Path:
        if not (real_data / name).exists():
            pytest.fail(f"the real data must hold {name}; {real_data} does not.")
        return real_data / name

    return find
