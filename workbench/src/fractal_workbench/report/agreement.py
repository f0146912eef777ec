"""Agreement of two label images of one image, object by object."""

from typing import NamedTuple

import numpy as np

from .objects import renumbered
from .pixels import Array

OVERLAP = 0.5  # part of an object, or of the union of two, that counts as the same


class Agreement(NamedTuple):
    """Numbers of objects; each object of either label image is in one of them.

    Attributes:
        agree: Pairs that overlap by more than half of their union.
        split: Objects of the first, more than half covered by several of the second.
        merged: Objects of the first that share an object of the second, which covers more
            than half of each.
        missing: Objects of the first that the second hardly touches.
        differ: Other objects of the first.
        added: Objects of the second that the first hardly touches.
    """

    agree: int
    split: int
    merged: int
    missing: int
    differ: int
    added: int

    def text(self, first: str, second: str) -> str:
        """The numbers in words.

        Args:
            first: Name of the first label image.
            second: Name of the second.
        """
        parts = [
            f"{self.agree} agree",
            f"{self.split} split",
            f"{self.merged} merged",
            f"{self.missing} missing",
            *([f"{self.differ} partly covered"] if self.differ else []),
        ]
        return (
            f"Of {first} in {second}: {', '.join(parts)}; {self.added} only in {second}"
        )


def agreement(first: Array, second: Array) -> Agreement:
    """Compare two label images of the same shape.

    Raises:
        ValueError: Their shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"shapes differ: {first.shape} and {second.shape}")
    names_a, a = renumbered(first)
    names_b, b = renumbered(second)
    a, b = a.ravel(), b.ravel()
    n_b = len(names_b)
    size_a, size_b = (
        np.bincount(a, minlength=len(names_a)),
        np.bincount(b, minlength=n_b),
    )
    both = (a > 0) & (b > 0)
    pairs, shared = np.unique(a[both] * n_b + b[both], return_counts=True)
    left, right = pairs // n_b, pairs % n_b
    union = size_a[left] + size_b[right] - shared
    same = shared > OVERLAP * union
    agree_a = np.isin(np.arange(len(names_a)), left[same])
    covered_a = np.bincount(left, shared, len(names_a))
    covered_b = np.bincount(right, shared, n_b)
    # Of pieces, most lies in the whole.
    piece_b = shared > OVERLAP * size_b[right]
    piece_a = shared > OVERLAP * size_a[left]
    n_pieces = np.bincount(left[piece_b], minlength=len(names_a))
    n_wholes = np.bincount(right[piece_a], minlength=n_b)
    in_whole = np.isin(np.arange(len(names_a)), left[piece_a & (n_wholes[right] > 1)])
    rest = ~agree_a
    rest[0] = False
    split = rest & (n_pieces > 1) & (covered_a > OVERLAP * size_a)
    merged = rest & ~split & in_whole
    missing = rest & ~split & ~merged & (covered_a <= 0.1 * size_a)
    differ = rest & ~split & ~merged & ~missing
    added = (covered_b <= 0.1 * size_b)[1:]
    return Agreement(
        agree=int(np.count_nonzero(agree_a[1:])),
        split=int(np.count_nonzero(split)),
        merged=int(np.count_nonzero(merged)),
        missing=int(np.count_nonzero(missing)),
        differ=int(np.count_nonzero(differ)),
        added=int(np.count_nonzero(added)),
    )
