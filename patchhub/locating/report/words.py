"""The tables and sentences of a report, for every form of it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from patchhub.locating.interchange import Where
from patchhub.locating.locate import Located
from patchhub.locating.places import Place
from patchhub.locating.tracing import Effect, Part
from patchhub.reporting.text import number, short
from patchhub.sites import DECODER

TITLE = "Where the answers come from"
PARTS = {
    Part.BLOCK: "Block output put back",
    Part.MLP: "MLP put back",
    Part.ATTENTION: "Attention put back",
}


def headline(found: Located) -> str:
    """What is proposed, in one line."""
    proposal = found.proposal
    if proposal.layer is None:
        return "no block proposed"
    stack = "" if proposal.stack == DECODER else f" of the {proposal.stack}"
    first, last = proposal.layers[0], proposal.layers[-1]
    run = f"; blocks {first} to {last} for methods that spread an edit" if first != last else ""
    return f"edit block {proposal.layer}{stack}{run}"


def facts(found: Located) -> Iterator[tuple[str, str]]:
    """Label and value of what was looked at."""
    tracing = found.tracing
    yield "model", f"{found.model_type}, {found.blocks} blocks of its {found.proposal.stack}"
    yield "requests", f"{found.known} known, {len(found.left_out)} left out"
    yield "traced", f"{tracing.n} facts, {tracing.samples} draws of noise each"
    yield "noise", f"standard deviation {tracing.noise:.4g} on the subject's embeddings"
    yield (
        "probability of the answer",
        f"{number(tracing.clean)}, with noise {number(tracing.corrupted)}",
    )
    if tracing.window > 1:
        yield "window", f"MLPs and attentions are put back {tracing.window} at a time"
    yield "exchanged", f"{found.pairs} pairs" if found.pairs else "no pair asks the same"


def grid(found: Located, part: Part) -> dict[Place, dict[int, Effect]]:
    """Effects of one part by place and block; places that no prompt has are left out."""
    cells: dict[Place, dict[int, Effect]] = {}
    for place in Place:
        row = {e.block: e for e in found.tracing.effects if e.part is part and e.place is place}
        if row:
            cells[place] = row
    return cells


def effect_rows(found: Located, part: Part) -> list[tuple[str, ...]]:
    """One row per place, one cell per block."""
    return [
        (str(place), str(row[0].n), *(number(row[block].mean) for block in range(found.blocks)))
        for place, row in grid(found, part).items()
    ]


def moved_rows(found: Located) -> list[tuple[str, ...]]:
    """One row per choice of positions, one cell per block."""
    shares = {(one.where, one.block): one.share for one in found.moved}
    return [
        (str(where), str(found.pairs), *(f"{shares[where, b]:.0%}" for b in range(found.blocks)))
        for where in Where
        if found.moved
    ]


def interval_rows(found: Located) -> list[tuple[str, ...]]:
    """At the subject's last token every figure with its 95 % interval, one row per block."""
    rows = []
    for block in range(found.blocks):
        effects = [grid(found, part)[Place.LAST_SUBJECT][block] for part in Part]
        shares = [m for m in found.moved if m.where is Where.SUBJECT_LAST and m.block == block]
        exchanged = [f"{m.share:.0%} ({m.interval[0]:.0%} to {m.interval[1]:.0%})" for m in shares]
        rows.append((str(block), *map(_with_interval, effects), *(exchanged or ["-"])))
    return rows


def left_out_rows(found: Located) -> list[tuple[str, str]]:
    """Prompt and reason of every request that was left out."""
    return [
        (short(one.request.prompt), f"{one.reason.code} {one.reason.what}")
        for one in found.left_out
    ]


def headers(found: Located) -> tuple[str, ...]:
    """Of the tables by place."""
    return ("", "n", *(str(block) for block in range(found.blocks)))


INTERVAL_HEADERS = ("block", "block output", "MLP", "attention", "exchanged")


def _with_interval(effect: Effect) -> str:
    if math.isinf(effect.low):
        return number(effect.mean)
    return f"{number(effect.mean)} ({number(effect.low)} to {number(effect.high)})"
