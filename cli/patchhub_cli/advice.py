"""Advice as tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from patchhub_cli.output import Reply, pairs, table

if TYPE_CHECKING:
    from patchhub.evaluation.advice.advise import Advice, Assessment
    from patchhub.evaluation.advice.constraints import Finding
    from patchhub.evaluation.advice.evidence import Figure


def advice_reply(advice: Advice) -> Reply:
    """The ranking, every figure with its n and file, the proposal, and what speaks against it."""
    from patchhub.evaluation.advice.reasons import against, reasons

    texts = [_ranking(advice.ranking), _figures(advice.ranking)] if advice.ranking else []
    about: list[tuple[str, object]] = [("base", advice.model), ("asked by", advice.protocol)]
    about += [("note", note) for note in advice.notes]
    chosen = "proposal" if advice.proposal else "nearest"
    about.append((chosen, reasons(advice)))
    about += [("against", text) for text in against(advice)]
    text = "\n\n".join((*texts, pairs(about)))
    return Reply(_data(advice, reasons(advice), against(advice)), text, advice.refusal())


def _ranking(ranking: Sequence[Assessment]) -> str:
    from patchhub.evaluation.advice.advise import QUALITIES
    from patchhub.evaluation.advice.constraints import Standing

    rows = [
        (
            one.method,
            None if one.state is None else str(one.state),
            f"{len(one.having(Standing.MET))} of {len(one.findings)}" if one.findings else None,
            *(
                None if f is None else f"{f.value:.2f} [{f.low:.2f}, {f.high:.2f}]"
                for f in one.quality
            ),
            f"{one.score:.2f}",
            None if one.seconds is None else f"{one.seconds.value:.2g}",
            one.refused or None,
        )
        for one in ranking
    ]
    headers = ("method", "used for", "met", *QUALITIES, "score", "s/edit", "refused")
    return table(headers, rows, right="lllrrrrrr")


def _figures(ranking: Sequence[Assessment]) -> str:
    """Every constraint, and of what none is about the qualities."""
    rows = [row for one in ranking for row in _rows(one)]
    headers = ("method", "constraint", "limit", "value", "95 % interval", "n", "", "from")
    return table(headers, rows, right="llrrrrll")


def _rows(one: Assessment) -> list[tuple[object, ...]]:
    from patchhub.evaluation.advice.advise import QUALITIES

    rows = [(one.name, *_cells(found)) for found in one.findings]
    asked = {found.constraint for found in one.findings}
    free = zip(QUALITIES, one.quality, strict=True)
    return rows + [(one.name, *_free(name, figure)) for name, figure in free if name not in asked]


def _cells(found: Finding) -> tuple[object, ...]:
    from patchhub.evaluation.advice.reasons import number

    figure, limit = found.figure, None
    if found.limit is not None:
        limit = f"{'≥' if found.floor else '≤'} {number(found.limit)}"
    name = found.constraint if figure is None else _named(found.constraint, figure)
    source = None if figure is None else figure.source
    return name, limit, *_numbers(figure), found.standing, source


def _free(name: str, figure: Figure | None) -> tuple[object, ...]:
    if figure is None:
        return name, None, None, None, None, None, None
    return _named(name, figure), None, *_numbers(figure), None, figure.source


def _named(constraint: str, figure: Figure) -> str:
    """With what was measured, where the name does not say it."""
    if figure.what.partition(".")[0] == constraint:
        return figure.what
    return f"{constraint} ({figure.what})"


def _numbers(figure: Figure | None) -> tuple[object, ...]:
    from patchhub.evaluation.advice.reasons import number

    if figure is None:
        return None, None, None
    span = None if figure.low == figure.high else f"{number(figure.low)} to {number(figure.high)}"
    return number(figure.value), span, figure.n


def _data(advice: Advice, why: str, against: Sequence[str]) -> dict[str, object]:
    proposal, nearest = advice.proposal, advice.nearest
    return {
        "model": advice.model,
        "protocol": advice.protocol,
        "constraints": asdict(advice.constraints),
        "proposal": None if proposal is None else _assessment(proposal),
        "nearest": None if nearest is None else nearest.method,
        "why": why,
        "against": list(against),
        "notes": list(advice.notes),
        "ranking": [_assessment(one) for one in advice.ranking],
    }


def _assessment(one: Assessment) -> dict[str, object]:
    from patchhub.evaluation.advice.advise import QUALITIES
    from patchhub.evaluation.advice.reasons import finding_text

    quality = zip(QUALITIES, one.quality, strict=True)
    return {
        "method": one.method,
        "state": None if one.state is None else asdict(one.state),
        "meets_all": one.meets_all,
        "score": one.score,
        "refused": one.refused,
        "quality": {name: None if f is None else asdict(f) for name, f in quality},
        "seconds_per_edit": None if one.seconds is None else asdict(one.seconds),
        "once": None if one.once is None else asdict(one.once),
        "findings": [{**asdict(f), "text": finding_text(f)} for f in one.findings],
    }
