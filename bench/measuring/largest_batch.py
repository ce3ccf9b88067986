"""Searches for the largest batch that fits, by a function that says whether a batch does."""

from collections.abc import Callable


def largest_batch(fits: Callable[[int], bool], start: int = 1, multiple: int = 1) -> int:
    """The largest batch that fits, found by growing steps away from `start` and then halving the
    gap; 0 if not even one image fits.

    Args:
        fits: whether a batch of so many images does; if one does not fit, no larger one may.
        start: a guess; the better it is, the fewer batches are tried.
        multiple: only its multiples are tried, unless none of them fits.
    """
    stride, start = multiple, max(multiple, start // multiple * multiple)
    if fits(start):
        low, high = start, start + stride
        while fits(high):
            stride *= 2
            low, high = high, high + stride
    else:
        low, high = start - stride, start
        while low > 0 and not fits(low):
            stride *= 2
            low, high = max(0, low - stride), low
    while high - low > multiple:
        middle = (low + high) // (2 * multiple) * multiple
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low if low or multiple == 1 else largest_batch(fits, start=multiple - 1)
