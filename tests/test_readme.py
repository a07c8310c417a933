"""The README does what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(README), "exec"), {})
    assert float(capsys.readouterr().out.splitlines()[0]) > 0.9


def test_readme_gives_the_two_commands() -> None:
    text = README.read_text()
    assert "make demo" in text
    assert "make test" in text


def test_measured_figures_are_those_of_the_benchmarks() -> None:
    script = README.parent / "benchmarks" / "readme_table.py"
    table = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout
    assert table.count("\n") > 10
    assert table in README.read_text(encoding="utf-8")
