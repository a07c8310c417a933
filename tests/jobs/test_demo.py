"""The demonstration, as a newcomer runs it."""

from pathlib import Path

import pytest

from svqvae import SVQVAE, cli
from svqvae.data.images import digits


def test_demo_beats_its_baselines_on_held_out_digits(tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["demo", "--out", str(tmp_path)])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    accuracy, baseline = (float(cell) for cell in out.split("accuracy")[1].replace("│", " ").split()[:2])
    assert accuracy >= 0.97 > 0.93 > baseline
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")
    assert SVQVAE.load(tmp_path).score(*digits()) > 0.97
