"""Numbers and texts as a reader sees them."""

from __future__ import annotations

import math


def number(value: float) -> str:
    """Three digits; words where there is no number."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    text = f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"
    return "0.000" if text == "-0.000" else text


def short(text: str, size: int = 120) -> str:
    """One line of text: what cannot be seen is spelled out, what is long is cut."""
    line = " ".join(text.split())
    seen = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    return seen if len(seen) <= size else seen[: size - 1] + "…"
