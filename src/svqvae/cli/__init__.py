"""The command line: parse, check, call, print. What is said here is said by the rooms below."""

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from svqvae.cli import asking, exporting, importing, learning, reporting
from svqvae.cli.memory import keep_freed_memory
from svqvae.cli.words import told_by

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: svqvae demo",
)
for room in (learning, reporting, asking, importing, exporting):
    app.add_typer(room.commands)


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        from svqvae import __version__

        typer.echo(f"svqvae {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Learn one code per class and one latent vector per sample from labelled data."""


def _complain(sentence: str) -> None:
    print(f"svqvae: {sentence}", file=sys.stderr)  # noqa: T201


def _warn_once(told: Callable[[str], str]) -> Callable[..., None]:
    """Return what shows a warning, and nothing where the same was shown before, wherever it was raised."""
    shown: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            _complain(f"warning: {told(str(message))}")

    return show


def _command_in(given: list[str]) -> Any:
    """Return the command that was called, or None where there is none of that name."""
    commands: dict[str, Any] = getattr(typer.main.get_command(app), "commands", {})
    return next((commands[word] for word in given if word in commands), None)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; a mistake in the input ends with one sentence on standard error and status 2."""
    # Threads that wait in a loop take the processor from those that work, many times over where other programs run.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()
    given = sys.argv[1:] if arguments is None else arguments

    def told(sentence: str) -> str:
        return told_by(_command_in(given))(sentence)

    warnings.showwarning = _warn_once(told)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    if threading.current_thread() is threading.main_thread():
        # A job that its scheduler ends is to leave what Ctrl-C leaves.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status: Any = app(args=given, prog_name="svqvae", standalone_mode=False, obj=given)
    except (ValueError, OSError, FloatingPointError, ModuleNotFoundError) as error:
        _complain(told(str(error)))
        status = 2
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        if message := error.format_message():
            _complain(message)
        status = getattr(error, "exit_code", 2)
    if status == 130:
        _complain("stopped.")
    sys.exit(status if isinstance(status, int) else 0)
