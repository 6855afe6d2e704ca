"""A forecast of an edit, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchhub_cli.edited import dropped_json, tell_dropped
from patchhub_cli.output import Reply, pairs, table

if TYPE_CHECKING:
    from patchhub_cli.session import Session
    from patchhub_registry.operations.forecast import Forecasted

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def forecast_reply(session: Session, made: Forecasted) -> Reply:
    """What would be done, what each part takes, what would be written."""
    found, guard = made.forecast, made.guard
    tell_dropped(session, found.dropped)
    rows: list[tuple[object, ...]] = [
        (phase.name, _amount(phase.amount, phase.unit), _seconds(phase.seconds))
        for phase in found.phases
    ]
    asked = f"2 × {guard.questions:,} questions, {guard.texts:,} texts"
    rows.append(("guard", asked, _seconds(guard.seconds)))
    rows.append(("write", f"{sum(found.files.values()):,} bytes" if found.files else None, None))
    if made.hashing:
        rows.insert(0, ("hash base", f"{made.hashing:,} bytes", None))
    settings = ", ".join(f"{name}={value}" for name, value in found.settings.items())
    about = [
        *_named(made),
        ("base", made.base),
        ("below", ", ".join(f"ph:{one[:12]}" for one in made.onto) or None),
        ("method", f"{made.method}: {settings}"),
        ("requests", made.requests),
        ("sites", _sites(made)),
        ("policy", guard.policy),
        ("memory", f"{_size(found.memory)} at most in the trial, program and base included"),
    ]
    notes = [f"measured in {found.spent:.1f} s; a method may stop earlier"]
    if found.patches > 1:
        notes.append("one request of middling length stands for each of the others")
    if guard.sampled:
        notes.append(f"{guard.sampled} probes of the base would first be sampled from the model")
    if found.trial is None:
        notes.append(f"{made.method} does not say what its cost goes with: time and size unknown")
    text = (pairs(about), table(("phase", "amount", "time"), rows, right="lrr"), "\n".join(notes))
    return Reply(_data(made), "\n\n".join((*text, "dry run: nothing was computed to keep")))


def _data(made: Forecasted) -> dict[str, object]:
    found, guard = made.forecast, made.guard
    phases = [
        {"name": p.name, "seconds": p.seconds, "amount": p.amount, "unit": p.unit}
        for p in found.phases
    ]
    return {
        "mode": made.mode,
        "names": list(made.names),
        "patches": found.patches,
        "base": made.base,
        "onto": list(made.onto),
        "method": made.method,
        "settings": found.settings,
        "requests": made.requests,
        "dropped": dropped_json(found.dropped),
        "sites": [
            {"tensor": site.tensor, "shape": list(site.shape), "rank": site.rank}
            for site in found.sites
        ],
        "phases": phases,
        "guard": {
            "policy": guard.policy,
            "questions": guard.questions,
            "texts": guard.texts,
            "sampled": guard.sampled,
            "seconds": guard.seconds,
        },
        "files": found.files,
        "bytes": sum(found.files.values()) if found.files else None,
        "hash_bytes": made.hashing,
        "memory": found.memory,
        "spent": found.spent,
    }


def _named(made: Forecasted) -> list[tuple[str, object]]:
    first, *rest = made.names
    if made.mode == "batch":
        return [("patch", first)]
    more = f" and {len(rest)} more" if rest else ""
    return [("patches", f"{made.forecast.patches}, {made.mode}: {first}{more}")]


def _sites(made: Forecasted) -> str | None:
    sites = made.forecast.sites
    if not sites:
        return None
    first, *rest = sites
    shape = " × ".join(map(str, first.shape))
    rank = "" if first.rank is None else f", rank {first.rank}"
    return f"{first.tensor} ({shape}{rank})" + (f" and {len(rest)} more" if rest else "")


def _amount(amount: int, unit: str) -> str:
    return f"{amount:,} {unit}" if amount else "there already"


def _seconds(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _size(count: int) -> str:
    size, unit = float(count), _UNITS[0]
    for unit in _UNITS:  # noqa: B007
        if size < 1024:
            break
        size /= 1024
    return f"{size:.1f} {unit}"
