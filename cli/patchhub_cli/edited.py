"""What `edit` made: one patch with its verdict, or a line for each of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from patchhub_cli.output import Reply, table
from patchhub_cli.verdicts import verdict_text

if TYPE_CHECKING:
    from patchhub.editing.editor import Dropped
    from patchhub_cli.session import Session
    from patchhub_registry.operations.guarding import RefusedError
    from patchhub_registry.operations.joining import Joined
    from patchhub_registry.operations.task import Edit, Edits


def edited_reply(session: Session, made: Edit | Edits | Joined) -> Reply:
    """One edit with its measurements, or of several what became of each."""
    from patchhub_registry.operations.joining import Joined
    from patchhub_registry.operations.task import Edits

    if isinstance(made, Joined):
        from patchhub_cli.joined import joined_reply

        return joined_reply(session, made)
    tell_dropped(session, made.dropped)
    tell_experimental(session, made.made if isinstance(made, Edits) else [made])
    return _several(made) if isinstance(made, Edits) else _one(made)


def refused_reply(error: RefusedError) -> Reply:
    """A batch that the guard refused."""
    return Reply({"verdict": error.verdict.to_json()}, verdict_text(error.verdict), error)


def tell_dropped(session: Session, dropped: Sequence[Dropped]) -> None:
    """A warning for each request that was left out."""
    for one in dropped:
        session.warn(f"left out {_label(one)}: {one.reason.code} {one.reason.what}")


def tell_experimental(session: Session, made: Sequence[Edit]) -> None:
    """A warning if nothing is published of the method on models of this family."""
    records = [one.patch.manifest.method for one in made]
    for name in sorted({record.name for record in records if record.experimental}):
        session.warn(f"{name} is experimental on this model: nothing is published of it")


def dropped_json(dropped: Sequence[Dropped]) -> list[dict[str, object]]:
    """The same for programs."""
    return [
        {
            "request": one.request.digest(),
            "id": one.request.id,
            "prompt": one.request.prompt,
            "code": one.reason.code,
            "what": one.reason.what,
        }
        for one in dropped
    ]


def _one(made: Edit) -> Reply:
    from patchhub_registry.operations.guarding import RefusedError

    data = {**_json(made), "dropped": dropped_json(made.dropped)}
    place = made.ref or f"written to {made.directory}"
    no = None if made.verdict.passed else RefusedError(made.verdict, made.patch.short)
    return Reply(data, f"{verdict_text(made.verdict)}\n{place}  {made.patch.short}", no)


def _several(made: Edits) -> Reply:
    from patchhub_registry.operations.guarding import SomeRefusedError

    rows = [
        (one.ref or one.directory, one.name, one.patch.short, _word(one), _against(one))
        for one in made.made
    ]
    refused = made.refused
    data = {"edits": [_json(one) for one in made.made], "dropped": dropped_json(made.dropped)}
    counts = [f"{len(made.made) - len(refused)} passed", f"{len(refused)} refused"]
    counts += [f"{len(made.dropped)} left out"] if made.dropped else []
    text = table(("kept as", "name", "patch", "guard", "because of"), rows)
    if not refused:
        return Reply(data, f"{text}\n{', '.join(counts)}")
    no = SomeRefusedError(
        [(one.name, one.verdict) for one in refused],
        kept=sum(one.ref is not None for one in made.made),
        written=any(one.directory is not None for one in refused),
    )
    return Reply(data, f"{text}\n{', '.join(counts)}", no)


def _json(one: Edit) -> dict[str, object]:
    return {
        "ref": one.ref,
        "name": one.name,
        "id": one.patch.id,
        "base": one.base,
        "directory": one.directory,
        "verdict": one.verdict.to_json(),
    }


def _word(one: Edit) -> str:
    return "yes" if one.verdict.passed else "no"


def _against(one: Edit) -> str | None:
    said = (f"{each.name} {each.value:.3f} (n = {each.n})" for each in one.verdict.blocking)
    return "; ".join(said) or None


def _label(one: Dropped) -> str:
    name = f"{one.request.id}: " if one.request.id else ""
    return f"{name}{one.request.prompt!r}"
