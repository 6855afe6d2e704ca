"""Which blocks to edit, from what tracing and interchange found, with the reasons in words.

An editor writes into MLPs at the subject's last token, so what counts is what they do there:

- *one block*: the last whose MLP, put back, gives at least half of the largest effect of any MLP,
  as long as the answer still stands at the subject's last token (a later block reads it);
- *several blocks*: from the first whose MLP gives at least a quarter of it up to there, six at most
  (MEMIT edits five or six, Meng et al. 2023, arXiv:2210.07229).

MLPs are put back in a window around each block, which smears an edge as much to either side: where
the effect has fallen to half is where it really ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from patchhub.locating.interchange import Moved, Where
from patchhub.locating.places import Place
from patchhub.locating.tracing import Effect, Part, Tracing

STRONG, SOME = 0.5, 0.25
"""Shares of the largest effect."""
MOST = 6
"""Blocks of a run."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Blocks to edit.

    Attributes:
        stack: The stack whose blocks are meant.
        layer: For methods that edit one block; None where nothing was found.
        layers: For methods that spread an edit, ascending; ends with ``layer``.
        reasons: Sentences.
    """

    stack: str
    layer: int | None
    layers: tuple[int, ...]
    reasons: tuple[str, ...]


def propose(stack: str, tracing: Tracing, moved: Sequence[Moved]) -> Proposal:
    """Apply the rule above.

    Args:
        stack: The stack that was looked into.
        tracing: With effects of MLPs and blocks at the subject's last token.
        moved: Of the interchange test; may be empty.
    """
    mlps = _at_subject(tracing, Part.MLP)
    peak = max(mlps.values(), key=lambda effect: effect.mean)
    if not peak.mean > 0 or (peak.n > 1 and not peak.low > 0):
        reason = (
            "No MLP brings the answers back at the subject's last token (largest effect "
            f"{_said(peak)}): they do not come from where editors write"
        )
        return Proposal(stack, None, (), (reason,))
    strong = [b for b, effect in mlps.items() if effect.mean >= STRONG * peak.mean]
    held, why = _held(tracing, moved)
    layer = max((b for b in strong if b <= held), default=min(held, peak.block))
    first = min((b for b, e in mlps.items() if e.mean >= SOME * peak.mean), default=layer)
    run = range(max(min(first, layer), layer - MOST + 1), layer + 1)
    reasons = [_mlps(mlps, peak, max(strong), tracing.window), why]
    if layer != max(strong):
        reasons.append(f"So block {layer}: behind it the MLPs come too late for this answer")
    if len(run) > 1:
        reasons.append(
            f"Blocks {run[0]} to {layer} for methods that spread an edit: block {first} is the "
            f"first with at least {SOME:.0%} of the largest effect; {MOST} blocks at most"
        )
    return Proposal(stack, layer, tuple(run), tuple(reasons))


def _at_subject(tracing: Tracing, part: Part) -> dict[int, Effect]:
    found = (e for e in tracing.effects if e.part is part and e.place is Place.LAST_SUBJECT)
    return {effect.block: effect for effect in sorted(found, key=lambda effect: effect.block)}


def _held(tracing: Tracing, moved: Sequence[Moved]) -> tuple[int, str]:
    """The last block after which the answer still stands at the subject's last token, and why."""
    shares = {m.block: m for m in moved if m.where is Where.SUBJECT_LAST and m.n}
    if shares and max(m.share for m in shares.values()) > 0:
        held = _last_strong({block: m.share for block, m in shares.items()})
        now, then = shares[held], shares.get(held + 1)
        after = "" if then is None else f", {then.share:.0%} at block {then.block}"
        return held, (
            f"Exchanged for another subject's at the subject's last token, the output of block "
            f"{held} takes the answer along in {now.share:.0%} of {now.n} pairs{after}"
        )
    blocks = _at_subject(tracing, Part.BLOCK)
    held = _last_strong({block: effect.mean for block, effect in blocks.items()})
    then_effect = blocks.get(held + 1)
    after = "" if then_effect is None else f", {then_effect.mean:.3f} at block {held + 1}"
    return held, (
        f"Put back at the subject's last token, the output of block {held} still brings the answer "
        f"back ({_said(blocks[held])}{after})"
    )


def _last_strong(values: Mapping[int, float]) -> int:
    largest = max(values.values())
    return max(block for block, value in values.items() if value >= STRONG * largest)


def _mlps(mlps: Mapping[int, Effect], peak: Effect, last: int, window: int) -> str:
    what = "its MLP, put back, brings" if window == 1 else f"{window} MLPs, put back, bring"
    after = mlps.get(last + 1)
    then = "" if after is None else f" (block {after.block}: {after.mean:.3f})"
    which = "it is also the last" if last == peak.block else f"block {last} is the last"
    return (
        f"At the subject's last token block {peak.block} is where {what} most of the answer back "
        f"({_said(peak)}); {which} with at least {STRONG:.0%} of that{then}"
    )


def _said(effect: Effect) -> str:
    if effect.n < 2:
        return f"{effect.mean:.3f}, n = {effect.n}"
    return f"{effect.mean:.3f}, 95 % {effect.low:.3f} to {effect.high:.3f}, n = {effect.n}"
