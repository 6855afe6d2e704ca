"""Say what apply or revert would do, and save it as a plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from patchhub_cli import completing
from patchhub_cli.main import verb
from patchhub_cli.output import Reply, pairs, short, table
from patchhub_cli.session import Session

if TYPE_CHECKING:
    from patchhub_registry.operations.plan import Plan, Target

PENDING = 10
"""Exit status of --exit-code when something would change."""


@verb(
    "plan",
    "patchhub plan born-in@1 --stack prod --model ./patched --out change.plan",
    "patchhub plan --model ./patched --exit-code",
)
@click.argument("refs", nargs=-1, metavar="[REF]...", shell_complete=completing.refs)
@click.option(
    "--stack",
    help="The stack; not needed when only one can be meant.",
    shell_complete=completing.stacks,
)
@click.option("--model", type=click.Path(path_type=Path), help="A model directory that follows.")
@click.option("--revert", is_flag=True, help="Plan to take REFs out instead of pushing them.")
@click.option("--alone", is_flag=True, help="With --revert: let nothing come back for REFs.")
@click.option("--override", metavar="REASON", help="Plan without a passing verdict.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Save for `apply --plan`."
)
@click.option("--exit-code", is_flag=True, help="Exit 10 if something would change.")
def command(
    session: Session,
    refs: tuple[str, ...],
    stack: str | None,
    model: Path | None,
    revert: bool,
    alone: bool,
    override: str | None,
    out: Path | None,
    exit_code: bool,
) -> Reply:
    """Say what `apply REF...` would do to a stack and a directory; nothing is changed.

    Without REF: what would bring the directory of --model to its stack's state. The exit status is
    0; with --exit-code it is 10 if something would change, and that of the refusal if it cannot.
    """
    from patchhub_registry.operations.plan import plan

    if alone and not revert:
        raise click.UsageError("--alone goes with --revert")
    made = plan(
        session.registry(),
        refs,
        stack=stack,
        model=model,
        revert=revert,
        alone=alone,
        override=override,
    )
    for warning in made.intent.warnings:
        session.warn(warning)
    if out is not None:
        from patchhub_registry.operations.planned import save_plan

        save_plan(made, out)
        session.note(f"next: patchhub apply --plan {out}")
    error = made.refused if exit_code else None
    return Reply(_data(made), _text(made), error, PENDING if exit_code and made.pending else 0)


def _text(made: Plan) -> str:
    before, after = made.before, made.after
    begins = "  (the stack begins)" if made.begins else ""
    head: list[tuple[str, object]] = [
        ("plan", f"{made.op} on {before.name}@{before.seq}, to {after.name}@{after.seq}{begins}"),
        ("patches", ", ".join(item.ref for item in after.items) or "none"),
        ("model", f"{short(before.identity)} → {short(after.identity)}"),
    ]
    blocks = [pairs(head)]
    if made.intent.changes:
        rows = [(c.op, c.ref, _evidence(made, c.ref)) for c in made.intent.changes]
        blocks.append(table(("op", "patch", "evidence"), rows))
    if made.touched:
        rows_ = [
            (t.tensor, t.dtype, f"{t.size:,}", ", ".join(t.before), ", ".join(t.after) or "base")
            for t in made.touched
        ]
        blocks.append(table(("tensor", "dtype", "bytes", "now", "then"), rows_, right="  r"))
    blocks.append(pairs(_foot(made)))
    return "\n\n".join(blocks)


def _foot(made: Plan) -> list[tuple[str, object]]:
    lines: list[tuple[str, object]] = []
    if made.target is not None:
        lines += _target(made.target)
    lines += [(each.rule, each.text) for each in made.conflicts]
    if made.refused is not None:
        lines.append(("refused", f"[{made.refused.code}] {made.refused.what}"))
        if made.refused.hint:
            lines.append(("hint", made.refused.hint))
    elif not made.pending:
        lines.append(("changes", "none"))
    else:
        lines.append(("changes", "pending"))
    return lines


def _target(target: Target) -> list[tuple[str, object]]:
    found = target.forecast
    if target.current:
        return [("directory", f"{target.directory} has this state already")]
    now = f"generation {found.state.serial}" if found.state else "new"
    files = f"{len(found.written)} file{'' if len(found.written) == 1 else 's'}"
    said = f"writes {files}, {found.size:,} bytes of tensors; takes over {found.linked}"
    return [
        ("directory", f"{target.directory} ({now}, then generation {found.serial})"),
        ("weights", said),
    ]


def _evidence(made: Plan, ref: str) -> str:
    change = next(each for each in made.intent.changes if each.ref == ref)
    if change.op == "revert":
        return "none needed"
    waived = ", ".join(f"{check} waived: {why}" for check, why in change.waivers.items())
    if change.guard is not None:
        return f"verdict {short(change.guard)}{f' ({waived})' if waived else ''}"
    return waived or "missing"


def _data(made: Plan) -> dict[str, object]:
    return {
        "op": made.op,
        "pending": made.pending,
        "possible": made.refused is None,
        "stack": made.before.name,
        "begins": made.begins,
        "before": {"seq": made.before.seq, "identity": made.before.identity},
        "after": {
            "seq": made.after.seq,
            "identity": made.after.identity,
            "patches": [item.to_json() for item in made.after.items],
        },
        "changes": [
            {
                "op": str(each.op),
                "ref": each.ref,
                "reason": each.reason,
                "guard": each.guard,
                "waivers": each.waivers,
            }
            for each in made.intent.changes
        ],
        "touched": [each.to_json() for each in made.touched],
        "conflicts": [each.to_json() for each in made.conflicts],
        "directory": None if made.target is None else _target_data(made.target),
    }


def _target_data(target: Target) -> dict[str, object]:
    found = target.forecast
    return {
        "directory": target.directory,
        "current": target.current,
        "holds": [item.to_json() for item in target.holds],
        "generation": found.state.serial if found.state else None,
        "next": found.serial,
        "written": [{"file": f.name, "bytes": f.size, "rest": f.rest} for f in found.written],
        "bytes": found.size,
        "linked": found.linked,
    }
