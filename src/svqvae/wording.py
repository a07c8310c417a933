"""Names in sentences, and values as plain JSON."""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

N_NAMED = 5


def list_some(values: Iterable[Any], write: Callable[[str], str] = repr) -> str:
    """Name the first five of some values and count the rest, for a sentence.

    Parameters
    ----------
    values
        Anything with a name; the name of a value is its text.
    write
        How a name is written: `repr` puts it in quotes, `str` leaves it as it is.

    Examples
    --------
    >>> list_some(["B cell", "T cell"])
    "'B cell', 'T cell'"
    >>> list_some(range(8), write=str)
    '0, 1, 2, 3, 4 (+3 more)'
    """
    names = [write(str(value)) for value in values]
    more = len(names) - N_NAMED
    return ", ".join(names[:N_NAMED]) + (f" (+{more} more)" if more > 0 else "")


def closest(name: str, names: Iterable[str]) -> str:
    """Return the start of a sentence that tells up to three of the names like the given one, in any case.

    The sentence goes on with all names: where none is close, only "The " comes before that.

    Examples
    --------
    >>> closest("Knd", ["kind", "batch"]) + "columns are 'kind', 'batch'."
    "The closest name is 'kind'; columns are 'kind', 'batch'."
    >>> closest("age", ["kind", "batch"]) + "columns are 'kind', 'batch'."
    "The columns are 'kind', 'batch'."
    """
    by_lower_case = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=3, cutoff=0.5)
    found = list_some(by_lower_case[match] for match in close)
    return f"The closest {'name is' if len(close) == 1 else 'names are'} {found}; " if close else "The "


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it.

    NaN and infinities, which JSON lacks, become None: they stand for what is not known. Arrays and tuples become lists,
    tables lists of one dict per row, series dicts; keys of dicts become text, and so does whatever else JSON lacks,
    such as a path.

    Examples
    --------
    >>> import numpy as np
    >>> from pathlib import Path
    >>> plain({"a": np.array([1.0, np.nan]), 2: (np.int64(2), True), "run": Path("run")})
    {'a': [1.0, None], '2': [2, True], 'run': 'run'}
    """
    # By what values can do, and not by their type: numpy and pandas take long to import.
    if hasattr(value, "to_dict"):
        value = value.to_dict("records") if hasattr(value, "columns") else value.to_dict()
    elif hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)
