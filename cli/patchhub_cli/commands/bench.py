"""Compare editing methods on your model and your facts: experiments, tables, plots."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from patchhub_cli.benchoptions import EDITS, SIZES, options_of
from patchhub_cli.benchtext import compact
from patchhub_cli.main import verb
from patchhub_cli.options import pairs_of
from patchhub_cli.output import Reply
from patchhub_cli.session import Session

if TYPE_CHECKING:
    from patchhub.evaluation.datasets import Dataset
    from patchhub.evaluation.setup import Setup
    from patchhub.jobs.pool import Processes


@click.group("bench")
def command() -> None:
    """Compare editing methods on your model and your facts: experiments, tables, plots.

    Work that is finished is kept in --out: after an interruption the same command goes on.
    """


def _experiment(name: str, text: str) -> None:
    def run(session: Session, **options: Any) -> Reply:
        return _run(session, name, **options)

    run.__doc__ = text
    for option in reversed(options_of(name)):
        run = option(run)
    examples = (f"patchhub bench {name} --out results", f"patchhub bench {name} {_OWN}")
    command.add_command(verb(name, *examples)(run))


_OWN = "--model ./gpt2 --data facts.json --out results"
_experiment("single", "One edit at a time, each on the model as it was.")
_experiment("batch", "Many facts in one edit.")
_experiment(
    "sequential", "One edit after another on the same model, all of them asked for along the way."
)


def _run(session: Session, experiment: str, **options: Any) -> Reply:
    session.quiet_libraries()
    from patchhub.evaluation.bench import bench
    from patchhub.evaluation.results import PROVENANCE, RESULTS, Results
    from patchhub.jobs.run import JobsFailedError

    out: Path = options["out"]
    data = _dataset(experiment, **options)
    for place in data.skipped:
        session.warn(f"skipped {place}")
    setup = _setup(experiment, **options)
    failed: JobsFailedError | None = None
    with session.progress() as progress, _backend(setup, options["workers"]) as backend:
        try:
            bench(
                experiment,
                data,
                setup,
                out,
                backend,
                command=shlex.join(["patchhub", *sys.argv[1:]]),
                progress=progress.overall,
                remaining=progress.remaining,
            )
        except JobsFailedError as error:  # what did not fail is written and shown all the same
            failed = error
    files = [out / experiment / name for name in (RESULTS, PROVENANCE)]
    results = Results.read(files[0])
    earlier = failed is not None and not results.failures
    session.note(f"results{' of an earlier run, which finished' if earlier else ''}: {files[0]}")
    text = compact([results])
    return Reply({"results": files[0], "provenance": files[1]}, text, failed)


def _dataset(experiment: str, **options: Any) -> Dataset:
    from dataclasses import replace

    from patchhub.evaluation.datasets import load_dataset
    from patchhub.guard.probes import BaseProbes
    from patchhub.scoring.consistency import References
    from patchhub.scoring.tasks import read_tasks
    from patchhub.textfile import read_texts

    data = load_dataset(
        options["data"],
        limit=options["edits"] or EDITS[experiment][options["full"]],
        seed=options["sample"],
        skip_bad=options["skip_bad"],
    )
    if options["probes"] is not None:
        data = replace(data, probes=BaseProbes.read(options["probes"]))
    if options["tasks"] is not None:
        tasks = tuple(read_tasks(options["tasks"]))
        data = replace(data, probes=replace(data.probes, tasks=tasks))
    if options["references"] is not None:
        data = replace(data, references=References.read(options["references"]))
    if options["texts"] is not None:
        texts = read_texts(options["texts"])
        data = replace(data, corpus=lambda: texts)
    return data


def _setup(experiment: str, **options: Any) -> Setup:
    from patchhub.editing.catalog import editor_names
    from patchhub.evaluation.setup import Setup
    from patchhub.sandbox import model_path
    from patchhub.scoring.protocols import Protocol

    methods = _names(options["methods"]) or editor_names()
    joint = _joint(options.get("joint", "none"))
    sizes = options.get("sizes")
    return Setup(
        models=tuple(map(Path, options["models"])) or (model_path(),),
        methods=methods,
        joint=joint,
        settings=_settings(pairs_of(options["settings"]), (*methods, *joint)),
        sizes=_numbers(sizes, "--sizes") if sizes else SIZES[options["full"]],
        checkpoints=options.get("checkpoints", 1),
        again=options.get("again", 0),
        orders=options.get("orders", 1),
        whole_every=options.get("whole_every", 4),
        seeds=_numbers(options["seeds"], "--seeds"),
        protocols=tuple(map(_protocol, _names(options["protocols"]))) or tuple(Protocol),
        measures=_names(options["measures"]),
        device=options["device"],
        threads=options["threads"],
        memory=options["memory"],
        trained=options["trained"],
    )


def _joint(text: str) -> tuple[str, ...]:
    """The methods in a list; all whose edits can be solved together for ``all``."""
    from patchhub.editing.catalog import editor_names, load_editor
    from patchhub.editing.joint import KeyValueEditor

    if text == "none":
        return ()
    able = (name for name in editor_names() if isinstance(load_editor(name), KeyValueEditor))
    return _names(text) or tuple(able)


def _settings(given: dict[str, str], methods: tuple[str, ...]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name, value in given.items():
        method, dot, key = name.partition(".")
        if not dot or method not in methods:
            raise click.UsageError(f"--set takes METHOD.KEY=VALUE of {', '.join(methods)}: {name}")
        found.setdefault(method, {})[key] = value
    return found


def _names(text: str) -> tuple[str, ...]:
    """The names in a list; none for ``all``."""
    return () if text == "all" else tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.UsageError(f"{option} takes whole numbers with commas, not {text!r}") from None


def _protocol(name: str) -> Any:
    from patchhub.scoring.protocols import Protocol

    try:
        return Protocol(name)
    except ValueError:
        known = ", ".join(protocol.value for protocol in Protocol)
        raise click.UsageError(f"--protocols: {name!r} is none of {known}") from None


def _backend(setup: Setup, workers: int | None) -> Processes:
    from patchhub.jobs.pool import Processes

    if workers is None:
        workers = max(1, _processors() // setup.threads) if setup.device == "cpu" else 1
    return Processes(workers, setup.threads)


def _processors() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@verb("report", "patchhub bench report results --to report")
@click.argument("places", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    default="report",
    show_default=True,
    help="Written as TO.md and TO.html, with plots beside; into TO if it is a directory.",
)
def report(session: Session, places: tuple[Path, ...], to: Path) -> Reply:
    """Tables and plots of results, as Markdown and as one page that needs no network.

    PLACES are directories that `patchhub bench` wrote.
    """
    session.quiet_libraries()
    from patchhub.evaluation.report import write_report
    from patchhub.evaluation.results import Provenance, Results, found_in

    found = [(Results.read(place), Provenance.read(place)) for place in found_in(places)]
    files = write_report(found, to)
    for file in files:
        session.note(f"report: {file}")
    return Reply({"files": list(files)}, compact([results for results, _ in found]))


command.add_command(report)
