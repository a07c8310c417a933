"""What the command line asks of the C library."""

import os

import pytest

from svqvae.cli.memory import KEPT, MMAP_THRESHOLD, NAMES, TRIM_THRESHOLD, keep_freed_memory


def test_what_the_environment_says_of_memory_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    class Library:
        @staticmethod
        def mallopt(parameter: int, value: int) -> None:
            asked.append((parameter, value))

    monkeypatch.setattr("svqvae.cli.memory.ctypes.CDLL", lambda _: Library)
    monkeypatch.setattr("svqvae.cli.memory.sys.platform", "linux")
    monkeypatch.setenv(NAMES[TRIM_THRESHOLD], "1000")
    monkeypatch.setenv(NAMES[MMAP_THRESHOLD], "")
    monkeypatch.delenv(NAMES[MMAP_THRESHOLD])
    keep_freed_memory()
    assert asked == [(MMAP_THRESHOLD, KEPT[MMAP_THRESHOLD])]
    assert os.environ[NAMES[TRIM_THRESHOLD]] == "1000"
    assert os.environ[NAMES[MMAP_THRESHOLD]] == str(KEPT[MMAP_THRESHOLD])


def test_other_systems_and_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES.values():
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr("svqvae.cli.memory.ctypes.CDLL", lambda _: object())
    for system in ("darwin", "linux"):
        monkeypatch.setattr("svqvae.cli.memory.sys.platform", system)
        keep_freed_memory()
    assert not set(NAMES.values()) & set(os.environ)
