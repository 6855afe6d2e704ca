"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_BINARY = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_BYTES = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?([kmgt]?)(?:i?b)?", re.IGNORECASE)


def size(text: str) -> int:
    """A number of bytes: 4096, 4K, 1.5GiB (K, M, G, T are powers of 1024)."""
    found = _BYTES.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter(f"{text!r} is no number of bytes, such as 4096, 64K or 1.5GiB")
    return int(float(found[1]) * _BINARY[found[2].lower()])


device_option = click.option(
    "--device", default="cpu", show_default=True, help='Where the model computes, such as "cuda".'
)
memory_option = click.option(
    "--memory",
    type=size,
    metavar="SIZE",
    help="What a method may use beside the model, such as 2GiB or 512MB.",
)
statistics_option = click.option(
    "--statistics",
    metavar="AMOUNT",
    help="Text for key statistics: full, fast, or tokens per dimension of a key; else full, or as "
    "for the edits joined.",
)
profile_option = click.option(
    "--profile", help="Published settings for this model; `patchhub methods METHOD` lists them."
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
