"""Arguments and options that several commands share, and those that stand for the parameters of a model."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from svqvae.parameters import PARAMETERS, Parameter

DATA_HELP = ".h5ad, .zarr, .gctx, .gct, .csv, .tsv, .parquet, or a folder of IDX image files (label column: label)."
Data = Annotated[Path, typer.Argument(metavar="DATA", help=DATA_HELP, show_default=False)]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder that `svqvae fit` wrote.", show_default=False)]
Seed = Annotated[int, typer.Option(min=0, help="Seed; the same seed gives the same result.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document, files written and main figures, in place of text.")
]
Label = Annotated[str, typer.Option(help="Column that holds the class of each sample.")]
Unlabelled = Annotated[
    Path | None,
    typer.Option(
        help="Samples without a class, such as those of svqvae l1000 --unlabelled-out: how those of one --group differ "
        "counts less when classes are told apart."
    ),
]
Ignore = Annotated[
    list[str] | None, typer.Option(help="Column of numbers that is no feature, such as age; may be repeated.")
]
OnDisk = Annotated[
    bool | None,
    typer.Option(
        "--on-disk/--in-memory",
        help="Whether the numbers of .h5ad, .zarr and .gctx stay on disk and are read as they are needed.",
        show_default="on disk from 1 GiB of numbers on",
    ),
]
ClassName = Annotated[str, typer.Argument(metavar="CLASS", help="A class.", show_default=False)]
Like = Annotated[
    Path | None,
    typer.Option(metavar="RUN", help="Run whose parameters to take; those given here come first.", show_default=False),
]

# What an option is called where it is not called as the parameter is.
NAMES = {"n_epochs": "epochs"}
# Parameters that one option, --hold-out, sets together.
HELD_OUT = ("validation_fraction", "early_stopping")
_HOLD_OUT = typer.Option(
    help="Share of the samples not to train on: they tell when to stop, how good the model is, and how sure annotate "
    "is.",
    show_default="0.05 from 10,000 samples on, else 0",
    rich_help_panel="Model and training",
)


def takes_parameters(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each parameter of a model; it gets those that were given as its `settings`.

    Parameters
    ----------
    command
        A function with the argument ``settings``, a dict of parameters of `svqvae.SVQVAE`.
    """

    @wraps(command)
    def with_settings(**given: Any) -> None:
        settings = {name: given.pop(_option(name)) for name in PARAMETER_NAMES}
        settings = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
        command(**given, settings={name: value for name, value in settings.items() if value not in (None, ())})

    own = inspect.signature(command, eval_str=True)
    kept = [parameter for name, parameter in own.parameters.items() if name != "settings"]
    added = [
        inspect.Parameter(
            _option(parameter.name), inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_type(parameter)
        )
        for parameter in PARAMETERS
        if parameter.name in PARAMETER_NAMES
    ]
    kept = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in kept]
    with_settings.__signature__ = own.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
    with_settings.__annotations__ = {parameter.name: parameter.annotation for parameter in (*kept, *added)}
    return with_settings


PARAMETER_NAMES = tuple(parameter.name for parameter in PARAMETERS if parameter.name not in HELD_OUT)


def _option(name: str) -> str:
    return NAMES.get(name, name)


def _type(parameter: Parameter) -> Any:
    """Return the annotation of an option: its type, its help, and the default, which the estimator sets."""
    kind: Any = str if parameter.least is None else int if parameter.is_whole else float
    if parameter.name in ("hidden", "image_shape"):
        kind = list[int]
    repeated = "; repeat it for several" if kind == list[int] else ""
    default = parameter.automatic if parameter.default is None else str(parameter.default)
    text = f"{parameter.help[0].upper()}{parameter.help[1:]}{repeated}."
    return Annotated[kind | None, typer.Option(help=text, show_default=default, rich_help_panel="Model and training")]


HoldOut = Annotated[float | None, _HOLD_OUT]


def settings_of(
    given: Mapping[str, Any], like: Path | None, hold_out: float | None, are_images: bool
) -> dict[str, Any]:
    """Return the parameters of a model: those given, else those of a run that it is to be like, else the estimator's.

    Parameters
    ----------
    given
        Parameters by name.
    like
        A run folder, or None.
    hold_out
        Share of the samples to hold out, or None.
    are_images
        Whether the data are images, for which networks are convolutional unless something else is asked.
    """
    settings: dict[str, Any] = {"architecture": "conv"} if are_images else {}
    if like is not None:
        from svqvae.fitting.run_folder import read_parameters

        settings |= read_parameters(like)
    if hold_out is not None:
        if not 0 <= hold_out < 1:
            raise ValueError(f"`hold_out` must be at least 0 and below 1; got {hold_out:g}.")
        settings |= {"validation_fraction": hold_out, "early_stopping": hold_out > 0}
    return settings | dict(given)
