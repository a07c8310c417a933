"""What lower rooms say of arguments, in the words of the command line."""

import re
import shlex
from collections.abc import Callable
from typing import Any

# What an argument is called below, and the parameters of commands that it may come from, the likelier first.
ALIASES = {
    "X": ("data", "signatures"),
    "folder": ("run", "like"),
    "groups": ("group",),
    "n_epochs": ("epochs",),
    "n_folds": ("folds",),
    "unlabelled_groups": ("group",),
    "validation_fraction": ("hold_out",),
    "y": ("label",),
}
_NAME = re.compile(r"`(\w+)`")
# Not within a path or a quoted text.
_SETTING = re.compile(r"(?<![\w/.'\"\\-])(\w+)=('[^'\n]*'|[\w.-]*\w)")


def told_by(command: Any) -> Callable[[str], str]:
    """Return a function of sentences that says options where those speak of the arguments of functions.

    Parameters
    ----------
    command
        A command of click, or None where none was recognised.

    Examples
    --------
    >>> import click
    >>> command = click.Command("fit", params=[click.Option(["--epochs"]), click.Argument(["data"], metavar="DATA")])
    >>> told_by(command)("`n_epochs` must be below 9; got 10. Use n_epochs=8, or fewer of `X`.")
    '`--epochs` must be below 9; got 10. Use --epochs 8, or fewer of `DATA`.'
    """
    words = {} if command is None else {parameter.name: _word(parameter) for parameter in command.params}
    # Whatever file it is, the sentence names it.
    known = {"path": "FILE", **words}
    for name, sources in ALIASES.items():
        source = next((source for source in sources if source in words), None)
        if source is not None:
            known.setdefault(name, words[source])

    def name_of(match: re.Match[str]) -> str:
        return f"`{known.get(match[1], match[1])}`"

    def setting_of(match: re.Match[str]) -> str:
        word = known.get(match[1], "")
        return f"{word} {shlex.quote(match[2].strip(chr(39)))}" if word.startswith("--") else match[0]

    return lambda sentence: _SETTING.sub(setting_of, _NAME.sub(name_of, sentence))


def _word(parameter: Any) -> str:
    """Return how a user writes a parameter: its longest option, or the word that the help has for an argument."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return str(max(parameter.opts, key=len))
