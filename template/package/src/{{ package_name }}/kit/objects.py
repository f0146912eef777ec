"""Arithmetic of label arrays: runs, numbers, and objects that touch each other."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .blocks import cast, reject_masked
from .slices import Array


class Runs(NamedTuple):
    """Labels as runs of equal values; few objects need little memory.

    Attributes:
        starts: First pixel of each run in the flat array.
        values: Its label.
        shape: Shape of the array.
    """

    starts: Array
    values: Array
    shape: tuple[int, ...]

    @classmethod
    def find(cls, labels: Array) -> "Runs":
        """Runs of an array of labels."""
        flat = labels.ravel()
        changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        kind = np.min_scalar_type(max(flat.size, 1))
        starts = np.concatenate([[0], changes])[: flat.size].astype(kind)
        return cls(starts, flat[starts], labels.shape)

    @property
    def lengths(self) -> Array:
        """Number of pixels of each run."""
        return np.diff(self.starts, append=self.starts.dtype.type(np.prod(self.shape)))

    def sizes_and_firsts(
        self, n_labels: int, corner: Sequence[int], shape: Sequence[int]
    ) -> tuple[Array, Array]:
        """Number of pixels of each label, and its first one in the flat image.

        Args:
            n_labels: Highest label; not all of those below it have pixels.
            corner: Where in the image the array begins.
            shape: Shape of the image.
        """
        first = np.zeros(n_labels + 1, np.int64)
        # Of several assignments, the last one wins: that of the first run.
        first[self.values[::-1]] = self.starts[::-1]
        in_block = np.unravel_index(first, self.shape)
        in_image = tuple(p + c for p, c in zip(in_block, corner, strict=True))
        sizes = np.bincount(self.values, self.lengths, n_labels + 1).astype(np.int64)
        return sizes[1:], np.ravel_multi_index(in_image, shape)[1:]

    def renumbered(self, number: Array) -> Array:
        """Array in which each label has another number."""
        return np.repeat(number[self.values], self.lengths).reshape(self.shape)


def checked_labels(found: Array, shape: tuple[int, ...]) -> Array:
    """Validate and convert labels."""
    found = np.asanyarray(found)  # of a function that may return nothing, or a list
    reject_masked(found)
    if found.dtype.kind in "bf" or found.shape != shape:
        raise ValueError(
            "segment: labels are integers (uint32) of the shape of the block, "
            f"{shape}, not {found.dtype} of {found.shape}"
        )
    return _numbered(cast(found, np.uint32))


def _numbered(labels: Array) -> Array:
    """Labels without large gaps between their numbers, to save memory."""
    if labels.max(initial=0) <= labels.size:
        return labels
    numbers, index = np.unique(labels, return_inverse=True)
    first = 0 if numbers[0] == 0 else 1
    return (index.reshape(labels.shape) + first).astype(np.uint32)


def number_objects(
    sizes: Array, firsts: Array, pairs: Array, min_size: int
) -> tuple[Array, int]:
    """Number the objects of which labels of several blocks are parts.

    Args:
        sizes: Number of pixels of each label.
        firsts: Position of its first pixel, in which order objects are numbered.
        pairs: Labels of the same object, counted from 1; two rows.
        min_size: Objects of fewer pixels get the number 0.

    Returns:
        The number of each label's object, and how many there are.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_labels = len(sizes)
    n_objects: int = n_labels
    objects: Array = np.arange(n_labels)
    if pairs.size:
        graph = coo_array(
            (np.ones(pairs.shape[1]), tuple(pairs - 1)), shape=(n_labels, n_labels)
        )
        n_objects, objects = connected_components(graph, directed=False)
    size = np.bincount(objects, sizes, n_objects)
    first = np.full(n_objects, np.iinfo(np.int64).max)
    np.minimum.at(first, objects, firsts)
    kept = np.flatnonzero(size >= max(min_size, 1))
    kept = kept[np.argsort(first[kept])]
    number = np.zeros(n_objects, np.uint32)
    number[kept] = np.arange(1, len(kept) + 1)
    return number[objects], len(kept)


def touching_labels(lower: Array, upper: Array) -> Array:
    """Pairs of labels that lie on each other in two arrays; two rows."""
    return shared_pixels(lower, upper)[0]


def matching_labels(lower: Array, upper: Array) -> Array:
    """Pairs of labels of two planes that are one object; two rows.

    Each is the one that the other shares most pixels with, and these are at least half of
    the smaller one. So objects that were told apart in a plane are never joined by those of
    another one, and each has at most one partner.

    Args:
        lower: Labels of a plane, or of a pile of them that share no labels.
        upper: Labels of the next one, or of the next ones.
    """
    pairs, shared = shared_pixels(lower, upper)
    sizes = [np.bincount(labels.ravel()) for labels in (lower, upper)]
    smaller = np.minimum(*(n[own] for n, own in zip(sizes, pairs, strict=True)))
    # Of equal ones, the first: labels of a plane are in the same order in all blocks.
    order = np.lexsort((pairs[1], pairs[0], -shared))
    is_best = np.ones(len(order), bool)
    for own in pairs:
        first = np.zeros(len(order), bool)
        first[order[np.unique(own[order], return_index=True)[1]]] = True
        is_best &= first
    return pairs[:, is_best & (2 * shared >= smaller)]


def shared_pixels(lower: Array, upper: Array) -> tuple[Array, Array]:
    """Pairs of labels that lie on each other; two rows. And how many pixels they share."""
    both = (lower > 0) & (upper > 0)
    n_labels = int(upper.max(initial=0)) + 1
    codes = lower[both].astype(np.int64) * n_labels + upper[both]
    # The same pair mostly comes in long runs. np.unique, by its hash table, can take forty
    # times as long as sorting.
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    lengths = np.diff(starts, append=len(codes))
    codes = codes[starts]
    order = np.argsort(codes)
    codes, lengths = codes[order], lengths[order]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    shared = np.add.reduceat(lengths, starts) if len(starts) else lengths
    return np.array(np.divmod(codes[starts], n_labels)), shared
