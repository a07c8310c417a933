"""Bars and wheels: drawn on a terminal where they are asked for, and nowhere else."""

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import pytest
import rich.console

from svqvae.progress import epoch_bar, part_bars, spinner


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Return what a terminal in the place of standard error shows."""
    shown = io.StringIO()
    console = partial(rich.console.Console, file=shown, force_terminal=True, width=120)
    monkeypatch.setattr(rich.console, "Console", console)
    return shown


def use_all(is_shown: bool) -> None:
    """Turn a wheel, and move each kind of bar."""
    with spinner(is_shown, "comparing"):
        pass
    with epoch_bar(is_shown) as on_epoch:
        on_epoch(0, 5, {"loss": 1.5})
        on_epoch(2, 5, {"loss": 0.25, "validation_accuracy": 0.9})
    with part_bars(is_shown) as open_bar:
        for title in ("nearest classes", "tree"):
            open_bar(title)(3, 7)


def test_a_terminal_shows_wheels_and_bars(terminal: io.StringIO) -> None:
    use_all(is_shown=True)
    text = terminal.getvalue()
    assert "comparing" in text
    assert "3/5" in text
    assert "loss 0.250, validation accuracy 0.900" in text
    assert "nearest classes" in text
    assert "tree" in text


def test_nothing_is_drawn_where_it_is_not_asked_for(terminal: io.StringIO) -> None:
    use_all(is_shown=False)
    assert terminal.getvalue() == ""


def test_nothing_is_drawn_off_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    use_all(is_shown=True)
    assert capfd.readouterr() == ("", "")


def fail_within(context: AbstractContextManager[object]) -> None:
    with context:
        raise ValueError("stopped")


@pytest.mark.parametrize("context", [partial(spinner, title="comparing"), epoch_bar, part_bars])
def test_an_error_goes_through_and_gives_the_cursor_back(
    context: Callable[[bool], AbstractContextManager[object]], terminal: io.StringIO
) -> None:
    with pytest.raises(ValueError, match="stopped"):
        fail_within(context(True))
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert terminal.getvalue().count(hide) == terminal.getvalue().count(show) == 1
