"""Rounding and sums over the rational numbers, straight from IEEE 754: slow and plain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

FORMATS: dict[str, tuple[int, int, int]] = {
    "float16": (11, -14, 15),
    "bfloat16": (8, -126, 127),
    "float32": (24, -126, 127),
    "float64": (53, -1022, 1023),
}
"""Significant bits, smallest and largest exponent of a normal number."""


def round_fraction(value: Fraction, form: str) -> float:
    """The number of a format next to ``value``, ties to even, as a Python float."""
    precision, lowest, highest = FORMATS[form]
    if value == 0:
        return 0.0
    sign, size = (-1, -value) if value < 0 else (1, value)
    exponent = _exponent(size)
    unit = Fraction(2) ** (max(exponent, lowest) - precision + 1)
    count, rest = divmod(size, unit)
    if rest * 2 > unit or (rest * 2 == unit and count % 2):
        count += 1
    rounded = count * unit
    if rounded >= Fraction(2) ** (highest + 1):
        return sign * float("inf")
    return float(sign * rounded) if rounded else sign * 0.0


def _exponent(size: Fraction) -> int:
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    while Fraction(2) ** exponent > size:
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= size:
        exponent += 1
    return exponent


def low_rank_delta(
    A: Sequence[Sequence[float]], B: Sequence[Sequence[float]]
) -> list[list[Fraction]]:
    """``B @ A`` for A ``(r, d_in)`` and B ``(d_out, r)``."""
    return [
        [
            sum((Fraction(b) * Fraction(A[k][j]) for k, b in enumerate(row)), Fraction(0))
            for j in range(len(A[0]))
        ]
        for row in B
    ]


def compose_element(base: float, deltas: Iterable[Fraction], form: str) -> float:
    """One element of the composed tensor; a patch sum of exactly zero leaves the base alone."""
    moved = sum(deltas, Fraction(0))
    if moved == 0:
        return base
    return round_fraction(Fraction(base) + moved, form)
