"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

device_option = click.option(
    "--device", default="cpu", show_default=True, help='Where the model computes, such as "cuda".'
)
policy_option = click.option(
    "--policy", type=click.Path(path_type=Path), help="Policy file; else the registry's."
)


review_option = click.option(
    "--review-after",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="Day after which `status` asks to look at it again.",
)


def waive_options(function: F) -> F:
    """``--waive CHECK`` (repeatable) and the ``--reason`` that goes with it."""
    function = click.option("--reason", help="Why the checks are waived; recorded.")(function)
    return click.option(
        "--waive", multiple=True, metavar="CHECK", help="A check that may fail; needs --reason."
    )(function)


def waivers(checks: Sequence[str], reason: str | None) -> dict[str, str]:
    """Checks to waive with the reason."""
    if checks and not (reason or "").strip():
        raise click.UsageError("--waive needs --reason TEXT")
    if reason is not None and not checks:
        raise click.UsageError("--reason goes with --waive CHECK")
    return {check: str(reason) for check in checks}


def pairs_of(texts: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` texts as a mapping."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.UsageError(f"--set takes KEY=VALUE, not {text!r}")
        if key in found:
            raise click.UsageError(f"--set {key} is given twice")
        found[key] = value
    return found
