"""`Flow`: a block as values that are made of one another, so that what is alive at once can be counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Value:
    size: int
    reads: tuple[int, ...]
    in_place: bool


class Flow:
    """What a block computes, in order; value 0 is its input, and the last value its output.

    A value is alive from when it is made until the last of those that read it has been made; the input is alive from
    the start. What is computed number by number may be written over a value that it reads, if nothing else reads that
    later. Norms, activations and quantisers are part of what comes before them and make no value.

    Args:
        size: numbers in the input.

    Example:
        >>> flow = Flow(100)  # a layer that keeps the shape, and its input added to what it gives
        >>> layer = flow.make(100, 0)
        >>> flow.add(layer, 0)
        2
        >>> flow.peak()
        200
    """

    def __init__(self, size: int) -> None:
        self._values = [_Value(size, (), in_place=False)]

    def make(self, size: int, *reads: int) -> int:
        """A new value of `size` numbers, made of others; gives its number."""
        return self._put(_Value(size, reads, in_place=False))

    def add(self, value: int, *others: int) -> int:
        """A value combined number by number with others, as a sum or product is; written over `value` if it may be."""
        return self._put(_Value(self._values[value].size, (value, *others), in_place=True))

    def peak(self) -> int:
        """The most numbers alive at once."""
        values = self._values
        last = {read: number for number, value in enumerate(values) for read in value.reads}
        alive, most = {0}, values[0].size
        for number, value in enumerate(values[1:], start=1):
            ending = {read for read in value.reads if last[read] == number}
            taken = value.in_place and value.reads[0] in ending
            held = sum(values[other].size for other in alive)
            most = max(most, held + (0 if taken else value.size))
            alive = (alive - ending) | {number}
        return most

    def _put(self, value: _Value) -> int:
        self._values.append(value)
        return len(self._values) - 1
