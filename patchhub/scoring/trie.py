"""Rows of tokens as one tree, so that what several begin with is computed once. Torch-free.

A model that sees, at each token, only that token's ancestors computes along every path what it
would compute of the path alone (tree attention: Miao et al. 2023, arXiv:2305.09781, section 4).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


class Trie:
    """Distinct beginnings of some rows; a node is the last token of one, parents come first.

    Attributes:
        ids: Token of each node.
        depths: Its position in the rows.
        paths: Of each row the nodes of its tokens, in order.
    """

    def __init__(self, rows: Sequence[Sequence[int]]) -> None:
        self.ids: list[int] = []
        self.depths: list[int] = []
        self.paths: list[list[int]] = []
        self._parents: list[int] = []
        known: dict[tuple[int, int], int] = {}
        for row in rows:
            self.paths.append(self._walk(row, known))

    def __len__(self) -> int:
        return len(self.ids)

    def hidden(self) -> NDArray[np.bool_]:
        """Which nodes (columns) each node (row) must not see: all but those above it and itself."""
        hidden = np.ones((len(self), len(self)), dtype=np.bool_)
        for node, parent in enumerate(self._parents):
            if parent >= 0:
                hidden[node, : parent + 1] = hidden[parent, : parent + 1]
            hidden[node, node] = False
        return hidden

    def _walk(self, row: Sequence[int], known: dict[tuple[int, int], int]) -> list[int]:
        path: list[int] = []
        node = -1
        for depth, token in enumerate(row):
            parent = node
            node = known.setdefault((parent, token), len(self.ids))
            if node == len(self.ids):
                self.ids.append(token)
                self.depths.append(depth)
                self._parents.append(parent)
            path.append(node)
        return path


def in_runs(rows: Sequence[Sequence[int]], nodes: int) -> Iterator[list[int]]:
    """Places of consecutive rows whose tree has at most so many nodes, or of one row alone.

    Rows that begin alike should stand together: a row is held against the one before only.
    """
    run: list[int] = []
    size = 0
    for place, row in enumerate(rows):
        size += len(row) - (common(rows[place - 1], row) if run else 0)
        if run and size > nodes:
            yield run
            run, size = [], len(row)
        run.append(place)
    if run:
        yield run


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two rows begin with alike."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
