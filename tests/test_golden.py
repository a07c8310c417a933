"""Small fits of every kind answer as they did, and runs of earlier formats too."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from svqvae import SVQVAE

GOLDEN = Path(__file__).with_name("golden")
sys.path.insert(0, str(GOLDEN))

from fits import FITS, answers, differences  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

# Processors add up in different orders, and a fit carries that on; a run that is only read hardly does.
FITTED, LOADED = 2e-2, 1e-4
# Shares of resamples, conformal p-values and sizes of sets move in steps.
IN_STEPS = {"novelty_p", "n_in_set", "nearest", "predict"}


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def kept(name: str) -> dict[str, Any]:
    return load_file(GOLDEN / "format_1" / name / "answers.safetensors")


@pytest.mark.parametrize("name", FITS)
def test_a_fit_answers_as_it_did(name: str) -> None:
    model, X, _ = FITS[name]()
    gaps = differences(answers(model, X), kept(name))
    assert {what: gap for what, gap in gaps.items() if gap > FITTED and what not in IN_STEPS} == {}


@pytest.mark.parametrize("name", FITS)
def test_a_run_of_format_1_answers_as_it_did(name: str) -> None:
    _, X, networks = FITS[name]()
    model = SVQVAE.load(GOLDEN / "format_1" / name, architecture=networks)
    found, before = answers(model, X), kept(name)
    gaps = differences(found, before)
    assert {what: gap for what, gap in gaps.items() if gap > LOADED and what not in IN_STEPS} == {}
    assert np.mean(found["predict"] == before["predict"]) > 0.99
