"""Say where everything stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from patchhub_cli.directories import directory_data, directory_lines
from patchhub_cli.main import verb
from patchhub_cli.output import Reply, pairs, short
from patchhub_cli.session import Session

if TYPE_CHECKING:
    from patchhub_registry.operations.reviews import Review


@verb("status", "patchhub status --model ./patched")
@click.option(
    "--model", type=click.Path(path_type=Path), help="Also say what this model directory holds."
)
def command(session: Session, model: Path | None) -> Reply:
    """Say where everything stands: bases, stacks, and what a model directory holds.

    A directory that was changed outside PatchHub is reported; the exit status stays 0.
    """
    from patchhub_registry.operations.status import status

    found = status(session.registry(), model=model)
    items: list[tuple[str, object]] = [("registry", f"{found.root}  {short(found.head)}")]
    names = {base.record.weights: base.record.name for base in found.bases}
    items += [
        ("base", f"{b.record.name}  {b.directory or 'not on this machine'}") for b in found.bases
    ]
    items.append(("patches", found.patches))
    for state in found.stacks:
        held = ", ".join(item.ref for item in state.items) or "no patches"
        where = f"{state.name}@{state.seq} on {names.get(state.base, short(state.base))}"
        items.append(("stack", f"{where}: {held}  (model {short(state.identity)})"))
    items += [("review", _review(review)) for review in found.reviews]
    data: dict[str, object] = {
        "root": found.root,
        "head": found.head,
        "bases": [base.to_json() for base in found.bases],
        "patches": found.patches,
        "stacks": [
            {
                "name": state.name,
                "seq": state.seq,
                "base": state.base,
                "identity": state.identity,
                "patches": [item.to_json() for item in state.items],
            }
            for state in found.stacks
        ],
        "reviews": [review.to_json() for review in found.reviews],
        "model": None,
    }
    if found.model is not None:
        data["model"] = directory_data(found.model)
        items += directory_lines(found.model)
    return Reply(data, pairs(items))


def _review(review: Review) -> str:
    days = f"{abs(review.days)} day{'' if abs(review.days) == 1 else 's'}"
    when = f"overdue by {days}" if review.overdue else f"due in {days}"
    where = ", ".join(review.stacks) or "no stack"
    return f"{review.ref} {when} ({review.day}), in {where}"
