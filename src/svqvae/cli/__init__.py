"""The command line: parse, check, call, print. What is said here is said by the rooms below."""

import logging
import sys
import warnings
from typing import Any, NoReturn

import typer

from svqvae.cli import asking, importing, learning

app = typer.Typer(
    help="Learn one code per class and one latent vector per sample from labelled data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for room in (learning, asking, importing):
    app.add_typer(room.commands)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"svqvae: warning: {message}", file=sys.stderr)  # noqa: T201


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; a mistake in the input ends with one sentence on standard error and status 2."""
    warnings.showwarning = _show_warning
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    try:
        status: Any = app(args=arguments, standalone_mode=False)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"svqvae: {error}", file=sys.stderr)  # noqa: T201
        status = 2
    except KeyboardInterrupt:
        print("svqvae: stopped.", file=sys.stderr)  # noqa: T201
        status = 130
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        if message := error.format_message():
            print(f"svqvae: {message}", file=sys.stderr)  # noqa: T201
        status = getattr(error, "exit_code", 2)
    sys.exit(status if isinstance(status, int) else 0)
