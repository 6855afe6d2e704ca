"""Propose a method from bench results and constraints, and say why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from patchhub.scoring.protocols import Protocol
from patchhub_cli.main import verb
from patchhub_cli.options import size
from patchhub_cli.output import Reply
from patchhub_cli.session import Session

SHARE = click.FloatRange(0, 1)
POSITIVE = click.FloatRange(0, min_open=True)


@verb(
    "advise",
    "patchhub advise results/single --reliability-floor 0.9 --locality-floor 0.95",
    "patchhub advise results/* --edits-per-day 100 --remove-any --latency 1.05",
)
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", help="The base; not needed where the results are about one.")
@click.option("--reliability-floor", type=SHARE, help="Share of edits that take.")
@click.option("--generalization-floor", type=SHARE, help="Share of paraphrases that follow.")
@click.option("--locality-floor", type=SHARE, help="Share of other answers that stay.")
@click.option(
    "--rung",
    "rungs",
    multiple=True,
    metavar="NAME",
    help="A measure of locality that counts, such as neighbourhood; else all do.",
)
@click.option("--seconds-per-edit", type=POSITIVE, help="At most.")
@click.option("--bytes-per-edit", type=size, metavar="BYTES", help="Size of the patch at most.")
@click.option("--memory", type=size, metavar="BYTES", help="Memory at most, such as 8GiB.")
@click.option("--latency", type=POSITIVE, help="Time of an answer by that without the edit.")
@click.option("--remove-any", is_flag=True, help="Patches may leave from the middle of a stack.")
@click.option(
    "--edits-per-day",
    type=click.IntRange(1),
    metavar="N",
    help="Judge by batches and sequences of about N, and by the day's time.",
)
@click.option("--unlearning", is_flag=True, help="The old answers must be gone when it speaks.")
@click.option(
    "--protocol",
    type=click.Choice([protocol.value for protocol in Protocol]),
    default=Protocol.GENERATION.value,
    show_default=True,
    help="How questions were asked; others flatter.",
)
def command(
    session: Session,
    results: tuple[Path, ...],
    model: str | None,
    rungs: tuple[str, ...],
    protocol: str,
    **limits: Any,
) -> Reply:
    """Propose a method by what bench found in the directories RESULTS, with figures.

    The lower end of the 95 % interval must reach a floor, the upper end must keep a limit; what no
    result shows is unknown and not met, and an edit that a method refused has failed. First comes
    who meets the most constraints; then the harmonic mean of the lower ends of reliability,
    generalization and locality decides, then the time. Where nothing meets all, the nearest is
    named and the exit status is 3.
    """
    from patchhub.evaluation.advice.advise import advise
    from patchhub.evaluation.advice.constraints import Constraints
    from patchhub.evaluation.advice.sources import read_sources
    from patchhub_cli.advice import advice_reply

    constraints = Constraints(**limits)
    sources = read_sources(results)
    return advice_reply(advise(sources, constraints, model=model, protocol=protocol, rungs=rungs))
