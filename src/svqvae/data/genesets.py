"""Gene sets from .gmt files, with sets up and down combined into one query."""

import re
from pathlib import Path

from svqvae.data.text import told_in_a_sentence
from svqvae.wording import list_some

# The features up and the features down of a query; one of the two may be empty.
UpDown = tuple[tuple[str, ...], tuple[str, ...]]

_DIRECTION = re.compile(r"(?P<name>.*\S)[ _.-]+(?P<direction>up|down|dn)", re.IGNORECASE)


def read_gene_sets(path: Path | str) -> dict[str, UpDown]:
    r"""Read the gene sets of a .gmt file: one per line, with name, description and genes separated by tabs.

    Two sets whose names are the same but for "up" and "down" (or "dn") at the end make one query, named without these.
    A set without a partner is a query under its own name; its genes are up, unless its name ends in "down" or "dn".

    Parameters
    ----------
    path : the file

    Returns
    -------
    dict of the genes up and the genes down of each query, by name, in the order of the file

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is empty, a line has no genes, or a name is used twice.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "sets.gmt"
    ...     _ = path.write_text("MEK_UP\t\tEGR1\tFOS\nMEK_DN\t\tDUSP6\nheat shock\tof cells\tHSPA1A\n")
    ...     read_gene_sets(path)
    {'MEK': (('EGR1', 'FOS'), ('DUSP6',)), 'heat shock': (('HSPA1A',), ())}
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"`path` must be an existing file; got {path}. Check the spelling and the folder.")
    with told_in_a_sentence(path, "file of gene sets (.gmt)"):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    sets: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, *rest = (cell.strip() for cell in line.split("\t"))
        genes = tuple(dict.fromkeys(gene for gene in rest[1:] if gene))
        if not name or not genes:
            raise ValueError(
                f"`path` must have a name, a description and genes in each line, tabs between; got {path}, where line "
                f"{number} has {len(rest[1:])} genes. Complete the line, or remove it."
            )
        if name in sets:
            raise ValueError(f"`path` must have unique set names; got {path} with {name!r} twice. Rename one.")
        sets[name] = genes
    if not sets:
        raise ValueError(f"`path` must hold gene sets; got {path}, which is empty. Give another file.")
    return _join(sets, path)


def _join(sets: dict[str, tuple[str, ...]], path: Path) -> dict[str, UpDown]:
    found = {name: _DIRECTION.fullmatch(name) for name in sets}
    members: dict[str, dict[str, str]] = {}
    for name, match in found.items():
        if match is not None:
            direction = "up" if match["direction"].lower() == "up" else "down"
            if direction in members.setdefault(match["name"], {}):
                raise ValueError(
                    f"`path` must have one set {direction} for each name; got {path} with "
                    f"{list_some([members[match['name']][direction], name])}. Rename one."
                )
            members[match["name"]][direction] = name
    queries: dict[str, UpDown] = {}
    for name, match in found.items():
        partners = {} if match is None else members[match["name"]]
        query = match["name"] if match is not None and len(partners) == 2 else name
        if query in sets and query != name:
            raise ValueError(f"`path` must have unique names; got {path} with {query!r} beside {name!r}. Rename one.")
        own = partners or {"up": name}
        queries[query] = (sets.get(own.get("up", ""), ()), sets.get(own.get("down", ""), ()))
    return queries
