"""A plan as a file, carried out later if nothing it rests on has changed.

The file says what was asked and what was found. Carrying it out asks again and compares, so that
nothing in the file has to be believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from patchhub import canonical
from patchhub.durable import swap_in
from patchhub.errors import ConflictError, InvalidInputError, NotFoundError, PatchHubError
from patchhub.fields import Fields, InFile
from patchhub_registry.operations.changing import Changed, change
from patchhub_registry.operations.plan import Plan, plan
from patchhub_registry.operations.revert import carry_out

if TYPE_CHECKING:
    from patchhub.canonical import Json
    from patchhub_registry.entry import Entry
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry
    from patchhub_registry.stack import Change

SCHEMA: Final = 1


def save_plan(made: Plan, file: str | Path) -> None:
    """Write a plan.

    Raises:
        PatchHubError: Whatever refuses the change: such a plan cannot be carried out.
    """
    if made.refused is not None:
        raise made.refused
    swap_in(Path(file), canonical.dumps(_body(made)))


def apply_plan(
    registry: Registry,
    file: str | Path,
    *,
    check: bool = True,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Changed:
    """Do what a plan says, if it would be the same plan today.

    Args:
        registry: The registry it was made in.
        file: What `save_plan` wrote.
        check: Of a plan to revert, ask the guard what `revert` asks it.
        device: Where the guard's model computes.
        progress: Called with the phase, units done, units in all.

    Raises:
        NotFoundError: E109, no such file; E107, the stack is gone.
        InvalidInputError: E113, E114, E116, the file is no plan.
        ConflictError: E304, something it rests on has changed.
        PatchHubError: As `apply` and `revert`.
    """
    body = _read(Path(file))
    again = _again(registry, body)
    _check_stack(registry, body, again)
    found: Any = _body(again)
    for part, words in (("changes", "the changes"), ("directory", "the directory")):
        if found[part] != body[part]:
            raise ConflictError(
                "E304",
                f"the plan is stale: {words} would not be the same today",
                expected=canonical.dumps(body[part]).decode()[:500],
                found=canonical.dumps(found[part]).decode()[:500],
                hint="plan again",
            )
    if again.refused is not None:
        raise again.refused
    if again.op == "revert":
        where = again.directory
        return carry_out(
            registry, again.intent, model=where, check=check, device=device, progress=progress
        )
    return change(
        registry,
        again.before,
        again.intent.changes,
        model=again.directory,
        progress=progress,
        warnings=again.intent.warnings,
        policy=again.intent.policy,
    )


def _body(made: Plan) -> dict[str, Json]:
    return {
        "schema": SCHEMA,
        "op": made.op,
        "stack": made.before.name,
        "seq": made.before.seq,
        "head": made.before.head,
        "override": made.override or "",
        "changes": [_change(each) for each in made.intent.changes],
        "composed": made.after.identity,
        "tensors": [each.tensor for each in made.touched],
        "directory": _directory(made),
    }


def _change(one: Change) -> dict[str, Json]:
    return {
        "op": str(one.op),
        "ref": one.ref,
        "reason": one.reason,
        "policy": one.policy or "",
        "guard": one.guard or "",
        "waivers": dict(one.waivers),
    }


def _directory(made: Plan) -> list[Json]:
    """Path, lineage, generation and model of the directory; nothing where none follows."""
    from patchhub.checkpoint.place import place_of

    if made.target is None:
        return []
    state = made.target.forecast.state
    where = str(place_of(made.target.directory).link)
    return [where] if state is None else [where, state.lineage, state.serial, state.identity]


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise NotFoundError("E109", f"no plan {file}", hint="patchhub plan REF --out FILE")
    value = canonical.loads(file.read_bytes(), what=str(file))
    fields = Fields(value, InFile(str(file), "E113", InvalidInputError))
    if fields.integer("schema") != SCHEMA:
        raise fields.error("schema", "is not known", code="E114", expected=SCHEMA)
    body: dict[str, Any] = {
        name: fields.text(name) for name in ("op", "stack", "head", "override", "composed")
    }
    body |= {"seq": fields.integer("seq"), "tensors": list(fields.texts("tensors"))}
    body["changes"] = [_read_change(row) for row in fields.inners("changes")]
    body["directory"] = fields.value("directory", list, "a list")
    fields.end()
    return body


def _read_change(row: Fields) -> dict[str, Any]:
    found: dict[str, Any] = {n: row.text(n) for n in ("op", "ref", "reason", "policy", "guard")}
    inner = row.inner("waivers")
    found["waivers"] = {name: inner.text(name) for name in inner.names()}
    row.end()
    return found


def _again(registry: Registry, body: Mapping[str, Any]) -> Plan:
    changes, where = body["changes"], body["directory"]
    reverts = body["op"] == "revert"
    named = [each for each in changes if not reverts or each["op"] == "revert"]
    return plan(
        registry,
        [each["ref"] for each in named],
        stack=body["stack"],
        model=str(where[0]) if where else None,
        revert=reverts,
        alone=reverts and len(named) == len(changes),
        override=body["override"] or None,
        reason=changes[0]["reason"] if changes else None,
    )


def _check_stack(registry: Registry, body: Mapping[str, Any], again: Plan) -> None:
    now = again.before
    if (now.seq, now.head) == (body["seq"], body["head"]):
        return
    name, tensors = body["stack"], set(body["tensors"])
    since = [entry for entry in registry.log(name) if entry.seq > body["seq"]]
    raise ConflictError(
        "E304",
        f"plan is stale: made at {name}@{body['seq']}, now at {name}@{now.seq}",
        found="; ".join(_since(registry, since, tensors)) or "another history",
        hint="plan again",
        expected_seq=body["seq"],
        found_seq=now.seq,
    )


def _since(registry: Registry, entries: Sequence[Entry], tensors: set[str]) -> Iterator[str]:
    """What happened since the plan was made, and how much of it concerns the plan."""
    for entry in entries:
        if entry.patch is None:
            continue
        try:
            sites = registry.resolve(entry.patch.ref).manifest.sites
        except PatchHubError:
            sites = ()
        count = len(tensors & {site.tensor for site in sites})
        words = f"touches {count} tensor{'' if count == 1 else 's'} of this plan"
        yield f"{entry.seq} {entry.op} {entry.patch.ref} ({words})"
