"""What `locate` found, for people and for programs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from patchhub_cli.output import Reply, pairs, table

if TYPE_CHECKING:
    from patchhub.locating.locate import Located
    from patchhub_cli.session import Session
    from patchhub_registry.operations.locate import LocatedIn

_GAIN = """\
At the subject's last token, with 95 % intervals: what the answer's probability gains when this is
put back; how often the answer follows when the block's output is another subject's."""


def located_reply(session: Session, found: LocatedIn) -> Reply:
    """The figures at the subject's last token, the proposal, and the settings that take it."""
    from patchhub.locating.report.words import INTERVAL_HEADERS, facts, interval_rows

    located = found.located
    for one in located.left_out:
        session.warn(f"left out: {one.request.prompt!r}: {one.reason.code} {one.reason.what}")
    rows = interval_rows(located)
    parts = (
        pairs([("base", found.base), *facts(located)]),
        f"{_GAIN}\n\n{table(INTERVAL_HEADERS, rows, right='rrrrr')}",
        "\n".join(f"- {reason}" for reason in located.proposal.reasons),
        "\n".join([*_settings(located), *(f"report: {file}" for file in found.report)]),
    )
    return Reply(_data(found), "\n\n".join(parts))


def _settings(located: Located) -> list[str]:
    """Lines that a user can copy."""
    from patchhub.sites import DECODER

    proposal = located.proposal
    if proposal.layer is None:
        return ["no block proposed"]
    several = ",".join(map(str, proposal.layers))
    lines = [f"--set layer={proposal.layer}", f"--set layers={several}"]
    if proposal.stack != DECODER:
        lines.append(f"(blocks of the {proposal.stack})")
    return lines


def _data(found: LocatedIn) -> dict[str, object]:
    located = found.located
    proposal = located.proposal
    return {
        "base": found.base,
        "model_type": located.model_type,
        "blocks": located.blocks,
        "known": located.known,
        "left_out": [
            {"prompt": one.request.prompt, "code": one.reason.code, "message": one.reason.what}
            for one in located.left_out
        ],
        "tracing": _tracing(located),
        "interchange": [
            {
                "block": one.block,
                "where": one.where,
                "share": one.share,
                "low": one.interval[0],
                "high": one.interval[1],
                "n": one.n,
            }
            for one in located.moved
        ],
        "proposal": {
            "stack": proposal.stack,
            "layer": proposal.layer,
            "layers": proposal.layers,
            "reasons": proposal.reasons,
        },
        "report": found.report,
    }


def _tracing(located: Located) -> dict[str, object]:
    tracing = located.tracing
    return {
        "facts": tracing.n,
        "samples": tracing.samples,
        "noise": tracing.noise,
        "window": tracing.window,
        "clean": tracing.clean,
        "corrupted": tracing.corrupted,
        "effects": [
            {
                "part": one.part,
                "block": one.block,
                "place": one.place,
                "mean": one.mean,
                "low": _finite(one.low),
                "high": _finite(one.high),
                "n": one.n,
            }
            for one in tracing.effects
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
