"""Train the editor that a method edits with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from patchhub_cli import completing
from patchhub_cli.main import verb
from patchhub_cli.options import pairs_of
from patchhub_cli.output import Reply, pairs
from patchhub_cli.session import Session

if TYPE_CHECKING:
    from patchhub.editing.meta.trained import Trained


@verb(
    "train",
    "patchhub train EDITOR --data facts.jsonl",
    "patchhub train EDITOR --data sandbox --skip 200 --model ./gpt2 --out editors",
)
@click.argument("editor", shell_complete=completing.methods)
@click.option(
    "--data",
    required=True,
    help="Requests with paraphrases: a file of any layout, or sandbox, sandbox:large: a world.",
)
@click.option(
    "--base",
    help="The base; not needed when there is only one.",
    shell_complete=completing.bases,
)
@click.option(
    "--model", type=click.Path(path_type=Path), help="Without a registry: directory of the base."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="With --model: directory of checkpoints and of the trained editor.",
)
@click.option(
    "--skip",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Requests to leave out: those that `bench --edits N` asks about.",
)
@click.option(
    "--sample", default=0, show_default=True, help="Seed of their order, as of `bench --sample`."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Of the training.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@click.option("--device", help='Where the model computes, such as "cuda"; else a GPU if any.')
def command(
    session: Session,
    editor: str,
    data: str,
    base: str | None,
    model: Path | None,
    out: Path | None,
    skip: int,
    sample: int,
    settings: tuple[str, ...],
    seed: int,
    device: str | None,
) -> Reply:
    """Train EDITOR on requests, for methods that turn gradients into updates by what they learned.

    A part of the requests is held out; training ends when what it says of those gets no better, and
    the best state is kept. After an interruption the same command goes on, to the same bytes. The
    registry keeps the result, and `edit` finds it.
    """
    if (model is None) != (out is None):
        raise click.UsageError("--model goes with --out")
    if model is not None and base is not None:
        raise click.UsageError("--base is of a registry, --model is without")
    given: dict[str, Any] = {"settings": pairs_of(settings), "seed": seed, "device": device}
    if model is not None and out is not None:
        session.quiet_libraries()
        from patchhub.evaluation.datasets import rest_of
        from patchhub.trainings import train

        requests = rest_of(data, skip, sample)
        with session.progress() as progress:
            found = train(model, editor, requests, cache=out, **given, progress=progress)
        return _reply(found, str(model))
    registry = session.registry()
    with session.progress() as progress:
        made = registry.train(
            editor, data, base=base, skip=skip, sample=sample, **given, progress=progress
        )
    return _reply(made.trained, made.base)


def _reply(found: Trained, base: str) -> Reply:
    outcome: Any = found.outcome
    losses = {step: float(loss) for step, loss in outcome["history"]}
    rows = [
        ("editor", f"{found.method} for {base}"),
        ("digest", found.digest),
        ("examples", f"{outcome['examples']}, and {outcome['held']} held out"),
        ("steps", f"{outcome['steps']}; the best was step {outcome['step']}"),
        ("held-out loss", f"{losses[outcome['step']]:.4g} nats"),
        ("edits take it", f"patchhub edit {found.method} …, or --set trained={found.digest[:12]}"),
    ]
    facts = {"digest": found.digest, "base": base, "content": dict(found.content)}
    return Reply({**facts, "outcome": dict(outcome)}, pairs(rows))
