"""Trees of classes and their Newick text."""

import io

import numpy as np
import pytest
from Bio import Phylo
from numpy.typing import NDArray

from svqvae.atlas.tree import Tree, clades_of, join

NAMES = tuple("abcdef")


@pytest.fixture
def tree() -> Tree:
    gaps = np.abs(np.subtract.outer([0.0, 1, 10, 11.5, 40, 100], [0.0, 1, 10, 11.5, 40, 100]))
    return Tree(NAMES, join(gaps, "average"), np.array([1.0, 0.5, 0.25, 0.75, 1.0]))


def test_the_tree_has_a_clade_for_each_inner_node(tree: Tree) -> None:
    assert tree.clades() == [frozenset("ab"), frozenset("cd"), frozenset("abcd"), frozenset("abcde"), frozenset(NAMES)]
    flags = clades_of(tree.linkage, 6)
    assert [frozenset(np.array(NAMES)[np.unpackbits(np.frombuffer(row, np.uint8))[:6] == 1]) for row in flags] == (
        tree.clades()
    )


def test_newick_is_read_by_biopython_with_lengths_and_support(tree: Tree) -> None:
    names = ("plain_1", "two words", "it's", "a:b", "(c)", "größe")
    read = Phylo.read(io.StringIO(Tree(names, tree.linkage, tree.support).newick()), "newick")
    assert {leaf.name for leaf in read.get_terminals()} == set(names)
    assert read.distance("plain_1", "two words") == pytest.approx(1.0)
    assert read.distance("plain_1", "größe") == pytest.approx(tree.linkage[-1, 2])
    assert {node.confidence for node in read.get_nonterminals()} == {100, 50, 25, 75}


@pytest.mark.parametrize("method", ["average", "complete", "single", "weighted"])
def test_the_tree_does_not_depend_on_the_order_of_pairs_below_0(method: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0.5, 1, size=(9, 9))
    values = (values + values.T) * (1 - np.eye(9))
    order = rng.permutation(9)

    def clades(matrix: NDArray[np.float64], names: list[str]) -> set[frozenset[str]]:
        joined = join(matrix, method)
        assert joined[:, 2].min() >= 0
        return set(Tree(tuple(names), joined, np.full(8, np.nan)).clades())

    names = [f"n{k}" for k in range(9)]
    assert clades(values, names) == clades(values[np.ix_(order, order)], [names[k] for k in order])
