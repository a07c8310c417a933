"""Names in sentences."""

import difflib
from collections.abc import Iterable
from typing import Any


def list_some(values: Iterable[Any]) -> str:
    """Quote the first five values and count the rest, for a message."""
    texts = [repr(str(value)) for value in values]
    return ", ".join(texts[:5]) + (f" (+{len(texts) - 5} more)" if len(texts) > 5 else "")


def closest(name: str, names: Iterable[str]) -> str:
    """Return the start of a sentence that names the closest of some names."""
    by_lower_case = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=3, cutoff=0.5)
    found = list_some(by_lower_case[match] for match in close)
    return f"The closest {'name is' if len(close) == 1 else 'names are'} {found}; " if close else "The "
