"""The demonstration, as a newcomer runs it."""

import json
from pathlib import Path

import pytest

from svqvae import SVQVAE, cli
from svqvae.data.images import digits
from svqvae.fitting.run_folder import read_run
from svqvae.jobs.demo import N_DRAWN, N_REAL, draw_digits, run_demo


def test_demo_beats_its_baselines_on_held_out_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["demo", "--out", str(tmp_path)])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    accuracy, baseline = (float(cell) for cell in out.split("accuracy")[1].replace("│", " ").split()[:2])
    assert accuracy >= 0.97 > 0.93 > baseline
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")
    assert SVQVAE.load(tmp_path).score(*digits()) > 0.97
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["test"]["accuracy"] == pytest.approx(accuracy, abs=5e-5)
    assert (figures["training"]["n_samples"], figures["test"]["n_samples"]) == (1257, 540)
    page = json.loads((tmp_path / "report.json").read_text())
    assert (page["quality"], page["accuracy"]["set"]) == (figures, "test")
    assert read_run(tmp_path)["data"]["command"] == f"svqvae demo --out {tmp_path}"


def test_a_file_in_the_place_of_the_folder_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(NotADirectoryError, match="`out` must be a folder; got the file"):
        run_demo(tmp_path / "demo", seed=0, verbose=False)
    assert (tmp_path / "demo").read_text() == "mine"


def test_the_picture_has_a_column_for_each_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = digits()
    images, labels = images[labels < 3][:90], labels[labels < 3][:90]
    model = SVQVAE(architecture="conv", n_epochs=1, latent_dim=4, random_state=0).fit(images[:60], labels[:60])
    drawn: list[tuple[object, int, int]] = []

    def sample(name: object, n: int, random_state: int) -> object:
        drawn.append((name, n, random_state))
        return SVQVAE.sample(model, name, n, random_state)

    monkeypatch.setattr(model, "sample", sample)
    draw_digits(model, images[60:], labels[60:], tmp_path / "digits.png", seed=4)
    assert drawn == [(name, N_DRAWN, 4 + name) for name in range(3)]
    content = (tmp_path / "digits.png").read_bytes()
    width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))
    assert width / height == pytest.approx((0.62 * 3 + 1.1) / (0.62 * (1 + N_REAL + N_DRAWN) + 0.3), rel=0.02)
