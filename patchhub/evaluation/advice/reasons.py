"""Why a method is proposed, and what speaks against it: sentences with figures. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from patchhub.evaluation.advice.advise import QUALITIES, Advice, Assessment
from patchhub.evaluation.advice.constraints import Finding, Standing
from patchhub.evaluation.advice.evidence import RELIABILITY, Figure

FEW = 30
"""Cases below which a figure is called thin."""

_KNOWN_BEFORE = 0.05


def reasons(advice: Advice) -> str:
    """One sentence for the proposal, or for the nearest where there is none."""
    one = advice.proposal or advice.nearest
    if one is None:
        return "these results hold no method"
    met, asked = len(one.having(Standing.MET)), len(one.findings)
    if not asked:
        met_by = "no constraints were given"
    elif one.meets_all:
        met_by = f"meets all {asked} constraints" if asked > 1 else "meets the constraint"
    else:
        met_by = f"meets {met} of {asked} constraints"
    shares = (_share(name, figure) for name, figure in zip(QUALITIES, one.quality, strict=True))
    parts = [met_by, *shares]
    if one.seconds is not None:
        parts.append(f"{one.seconds.value:.2g} s per edit")
    others = [other for other in advice.ranking if other.method != one.method]
    if others:
        parts.append(f"next is {others[0].name} with {others[0].score:.2f} against {one.score:.2f}")
    return f"{one.name}: " + "; ".join(parts) + "."


def against(advice: Advice) -> tuple[str, ...]:
    """What speaks against the proposal, or against the nearest where there is none."""
    one = advice.proposal or advice.nearest
    return () if one is None else tuple(_against(advice, one))


def finding_text(one: Finding) -> str:
    """A finding in words: which end of the interval was held against the limit."""
    if one.limit is None:
        says = {True: "may leave", False: "may not leave"}
        known = one.standing is not Standing.UNKNOWN
        word = says[one.standing is Standing.MET] if known else "nobody knows whether it may leave"
        return f"{one.constraint}: its kind of patch {word} from the middle of a stack"
    wanted = f"{'at least' if one.floor else 'at most'} {number(one.limit)}"
    figure = one.figure
    if figure is None:
        return f"{one.constraint}: no figure; wanted: {wanted}"
    end, bound = ("lower", figure.low) if one.floor else ("upper", figure.high)
    signs = {True: "≥", False: "<"} if one.floor else {True: "≤", False: ">"}
    sign = signs[one.standing is Standing.MET]
    held = f"{end} end {number(bound)} {sign} {number(one.limit)}"
    what = "" if figure.what == one.constraint else f" ({figure.what})"
    return f"{one.constraint}{what}: {number(figure.value)}, {held} (n = {figure.n})"


def number(value: float) -> str:
    """Three digits, or a whole number with its thousands set apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _share(name: str, figure: Figure | None) -> str:
    if figure is None:
        return f"{name} unknown"
    where = "" if name == RELIABILITY else f", {figure.what.partition('.')[2]}"
    span = f"[{figure.low:.2f}, {figure.high:.2f}]"
    return f"{name} {figure.value:.2f} {span} (n = {figure.n}{where})"


def _against(advice: Advice, one: Assessment) -> Iterator[str]:
    for standing in (Standing.MISSED, Standing.UNKNOWN):
        yield from (f"{standing}: {finding_text(found)}" for found in one.having(standing))
    if one.refused:
        yield f"it refused {one.refused} requests; they count as failures"
    if advice.constraints.remove_any and one.state is not None and one.state.size > 1:
        yield f"one patch holds {one.state.size:,} requests, which leave together"
    wanted = advice.constraints.edits_per_day
    if wanted is not None and one.state is not None and one.state.step != wanted:
        yield f"measured with {one.state.step:,} edits, not with {wanted:,}"
    for name, figure in zip(QUALITIES, one.quality, strict=True):
        if figure is not None and figure.n < FEW:
            yield f"{name} rests on n = {figure.n} only"
    before = advice.unedited[0]
    if before is not None and before.value > _KNOWN_BEFORE:
        share = f"{before.value:.0%} (n = {before.n})"
        yield f"the unedited model already gives the wanted answer to {share}"
    if one.once is not None and one.once.value >= 1:
        yield f"it first takes {one.once.value:.2g} s once for the base"
    others = [other for other in advice.ranking if other.method != one.method]
    yield from _better(one, others)
    if others and _alike(one, others[0]):
        yield f"these figures do not tell it from {others[0].name}: all intervals overlap"


def _better(one: Assessment, others: Sequence[Assessment]) -> Iterator[str]:
    """Methods that are better at something beyond doubt, the best at each."""
    for place, name in enumerate(QUALITIES):
        own = one.quality[place]
        pairs = [(o.quality[place], o) for o in others]
        found = [(f, o) for f, o in pairs if f and own and f.low > own.high]
        if found:
            figure, other = max(found, key=lambda pair: pair[0].low)
            yield f"{other.name} is better at {_share(name, figure)}"
    own = one.seconds
    faster = [(o.seconds, o) for o in others if o.seconds and own and o.seconds.high < own.low]
    if faster:
        figure, other = min(faster, key=lambda pair: pair[0].value)
        yield f"{other.name} is faster: {figure.value:.2g} s per edit"


def _alike(one: Assessment, other: Assessment) -> bool:
    pairs = [(a, b) for a, b in zip(one.quality, other.quality, strict=True) if a and b]
    return bool(pairs) and all(a.low <= b.high and b.low <= a.high for a, b in pairs)
