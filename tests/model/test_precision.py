"""The precision that "auto" takes."""

import pytest
import torch

from svqvae.model import precision
from svqvae.model.likelihood import Gaussian
from svqvae.model.module import SVQVAEModule
from svqvae.model.networks import dense
from svqvae.model.precision import choose_precision
from svqvae.model.quantizer import ClassMeanCodes


@pytest.fixture
def module() -> SVQVAEModule:
    encoder, decoder = dense(5, 3, (4,), 5, dropout=0.5)
    return SVQVAEModule(encoder, ClassMeanCodes(2, 3), decoder, Gaussian())


@pytest.mark.parametrize(("ratio", "expected"), [(0.5, "32-true"), (1.1, "32-true"), (1.3, "bf16-mixed")])
def test_mixed_precision_must_be_well_faster(
    module: SVQVAEModule, monkeypatch: pytest.MonkeyPatch, ratio: float, expected: str
) -> None:
    monkeypatch.setattr(precision, "_seconds_of_pass", lambda module, rows, is_mixed: 1.0 if is_mixed else ratio)
    assert choose_precision(module, (5,), 4, "cpu") == expected


def test_measuring_changes_neither_the_network_nor_the_random_state(module: SVQVAEModule) -> None:
    before = {name: value.clone() for name, value in module.state_dict().items()}
    random_state = torch.get_rng_state()
    assert choose_precision(module, (5,), 4, "cpu") in ("32-true", "bf16-mixed")
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(weight.grad is None for weight in module.parameters())
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_processes_of_torchrun_do_not_measure_each_for_itself(
    module: SVQVAEModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="`precision` must be named where torchrun starts several processes, 2 here"):
        choose_precision(module, (5,), 4, "cpu")
