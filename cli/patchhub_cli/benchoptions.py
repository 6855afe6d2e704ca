"""Options of the experiments of ``patchhub bench``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import click

from patchhub_cli.options import device_option, memory_option

Option: TypeAlias = Callable[[Any], Any]

EDITS = {"single": (200, 500), "batch": (200, 500), "sequential": (200, 1000)}
"""Requests taken by default, and with --full."""
SIZES = ((1, 10, 100), (1, 10, 100, 500))


def _listed(name: str, default: str, text: str) -> Option:
    return click.option(name, default=default, show_default=True, help=text)


def _count(name: str, default: int, text: str, *, least: int = 1) -> Option:
    kind = click.IntRange(least)
    return click.option(name, type=kind, default=default, show_default=True, help=text)


def _file(name: str, text: str) -> Option:
    return click.option(name, type=click.Path(path_type=Path), help=text)


_MODELS = click.option(
    "--model",
    "models",
    multiple=True,
    help="Directory of a base; repeat it for several. Default: the embedded sandbox model.",
)
_OUT = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Directory of finished work and results.",
)
_SET = click.option(
    "--set", "settings", multiple=True, metavar="METHOD.KEY=VALUE", help="A setting."
)
_WORKERS = click.option(
    "--workers",
    type=click.IntRange(1),
    help="Processes; as many as processors, or one on a GPU.",
)
_COMMON = (
    click.option("--full", is_flag=True, help="The full sizes, for a GPU or much patience."),
    _OUT,
    _listed("--protocols", "all", "Ways to ask, with commas."),
    _listed("--measures", "all", "Checks or measures, with commas."),
    _listed("--seeds", "0", "Of the methods, with commas."),
    click.option("--sample", default=0, show_default=True, help="Seed of the choice of facts."),
    click.option("--skip-bad", is_flag=True, help="Leave wrong records out, and say which."),
    _file("--texts", "Text for key statistics: a passage a line, or JSON lines; else own samples."),
    _file("--probes", "Questions and texts on which the model must stay as it is (JSON lines)."),
    _file("--tasks", "Questions with choices, such as PIQA's, to be chosen from by loss."),
    _file("--references", "Texts about things of which the new facts are true, for consistency."),
    _file("--trained", "Directory of trained editors: the --out of `train --model`."),
    _WORKERS,
    _count("--threads", 1, "Of each process."),
    memory_option,
    device_option,
)
_ORDERS = _count("--orders", 1, "Shuffles of the facts.")
_OWN = {
    "single": (
        _count("--whole-every", 4, "Every how many-th edit the whole model is measured at."),
    ),
    "batch": (click.option("--sizes", help="Facts per edit.  [default: 1,10,100]"), _ORDERS),
    "sequential": (
        _listed(
            "--joint",
            "none",
            "Methods, with commas, of which a sequence is also made as `edit --mode joint` makes "
            "it: each edit solved together with all before it.",
        ),
        _count("--checkpoints", 10, "How often everything is asked."),
        _count("--again", 10, "Edits to undo, to contradict and to repeat at the end.", least=0),
        _ORDERS,
    ),
}


def options_of(experiment: str) -> tuple[Option, ...]:
    """The options of an experiment, in the order of its help."""
    usual, full = EDITS[experiment]
    edits = click.option(
        "--edits",
        type=click.IntRange(1),
        help=f"Requests to take; {usual}, or {full} if --full.",
    )
    data = _listed(
        "--data", "sandbox", "A benchmark file of any layout, or sandbox, sandbox:large: a world."
    )
    methods = _listed("--methods", "all", "Editing methods, with commas.")
    return (_MODELS, data, methods, _SET, edits, *_OWN[experiment], *_COMMON)
