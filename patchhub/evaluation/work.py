"""The pieces of work an experiment consists of: prepare a method, edit, measure a state.

Each is a job: a function of its inputs and of earlier jobs' results, run anywhere, kept under the
digest of what it depends on. A method's refusal is a result; anything else that goes wrong is not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import EditContext, Editor, check_requests, run_editor
from patchhub.editing.memory import Peak
from patchhub.editing.settings import parse_settings
from patchhub.errors import IntegrityError, InvalidInputError, PatchHubError
from patchhub.evaluation import place, trained
from patchhub.evaluation.place import Data, Place
from patchhub.jobs.job import Work
from patchhub.patch import Patch
from patchhub.request import EditRequest

VERSION = 1
"""Goes up when the same inputs would give other results; part of every job's inputs."""
MADE, OBSERVED, PATCH, MOMENTS = "made.json", "observed.json", "patch", "moments"
EDITS = "edits"
"""In what a job that makes several edits observed: of each what it took."""


def prepare(work: Work) -> None:
    """Compute what a method needs once for a base: key statistics, templates; bring its editor."""
    with at(work) as (here, data):
        editor, settings = method_of(work)
        weights, cache = here.base.fingerprint.weights, work.out / MOMENTS
        refused = None
        began = time.perf_counter()
        with Peak(here.base.model.device) as peak:
            try:
                trained.bring(editor, settings, work.site.get("trained", ""), weights, cache)
                context_of(work, here, data, settings, cache)
            except InvalidInputError as error:
                refused = said(error)
        seconds = time.perf_counter() - began
    write(work.out / MADE, {"refused": refused})
    write(work.out / OBSERVED, {"seconds": seconds, "peak_bytes": peak.bytes})


def edit(work: Work) -> None:
    """Compute the patch of some requests on a model that carries earlier patches.

    Requests that the method does not take, or cannot edit while it can others, are left out; when
    it refuses all, or the edit as a whole, there is no patch. The result says why.
    """
    prepared, *earlier = work.needed.values()
    wanted: Any = work.inputs["requests"]
    refused = read(prepared / MADE)["refused"]
    if refused is not None:
        refuse(work, [refused] * len(wanted))
        return
    with at(work) as (here, data):
        requests = [data.by_digest[digest] for digest in wanted]
        editor, settings = method_of(work)
        reasons = [reason(editor, request) for request in requests]
        fit = [r for r, why in zip(requests, reasons, strict=True) if why is None]
        below = [place.patch(str(path)) for path in patches_in(earlier)]
        here.composer.set_stack(below)
        context = replace(
            context_of(work, here, data, settings, prepared / MOMENTS),
            below=tuple(below),
            dropped=[],
        )
        context.generator.manual_seed(context.seed)
        made = None
        try:
            if fit:
                made, seen = timed(here, lambda: run_editor(editor, context, fit, settings))
                write(work.out / OBSERVED, seen)
        except InvalidInputError as error:
            refuse(work, [why or said(error) for why in reasons])
            return
    if made is not None:
        made.write(work.out / PATCH)
    left_out = {one.request: said(one.reason) for one in context.dropped}
    reasons = [why or left_out.get(r) for r, why in zip(requests, reasons, strict=True)]
    write(work.out / MADE, {"refused": reasons})


def timed(here: Place, make: Callable[[], Patch]) -> tuple[Patch, dict[str, Any]]:
    """A patch, and what it took to make it."""
    began = time.perf_counter()
    with Peak(here.base.model.device) as peak:
        made = make()
    seconds = time.perf_counter() - began
    size = sum(len(content) for content in made.files().values())
    return made, {"seconds": seconds, "peak_bytes": peak.bytes, "patch_bytes": size}


def seen_of(result: Path) -> list[dict[str, Any]]:
    """What was observed of each edit that a job made."""
    seen = read(result / OBSERVED) if (result / OBSERVED).is_file() else {}
    return list(seen.get(EDITS, [seen] if seen else []))


def patches_in(results: Sequence[Path]) -> list[Path]:
    """The patches among the results of edit jobs, in order; refused edits have none."""
    return [result / PATCH for result in results if (result / PATCH).is_dir()]


def read(path: Path) -> dict[str, Any]:
    """A small result file."""
    value: dict[str, Any] = json.loads(path.read_bytes())
    return value


@contextmanager
def at(work: Work) -> Iterator[tuple[Place, Data]]:
    """The base bare and the data at hand; afterwards the base is bare again."""
    model: Any = work.inputs["base"]
    torch.set_num_threads(int(model["threads"]))
    here = place.place(work.site["model"], str(model["dtype"]), str(model["device"]))
    _check_same(work.site["model"], here, str(model["weights"]))
    here.composer.set_stack([])
    try:
        yield here, place.data(work.site["data"])
    finally:
        here.composer.set_stack([])


def _check_same(directory: str, here: Place, weights: str) -> None:
    found = here.base.fingerprint.weights
    if found != weights:
        raise IntegrityError(
            "E201",
            f"{directory} holds another model than when the experiment began",
            expected=f"weights {weights}",
            found=f"weights {found}",
        )


def method_of(work: Work) -> tuple[Editor, Any]:
    """The job's method and its settings."""
    given: Any = work.inputs["method"]
    editor = load_editor(str(given["name"]))
    return editor, parse_settings(editor.hparams, given["settings"])


def context_of(work: Work, here: Place, data: Data, settings: Any, moments: Path) -> EditContext:
    """What the job's method needs for edits on the base."""
    given: Any = work.inputs["method"]
    editor = load_editor(given["name"])
    fit = [request for request in data.requests if reason(editor, request) is None]
    seed = int(given["seed"])
    memory = given.get("memory")
    return place.context(
        here, data, editor.name, seed, settings, fit or data.requests, moments, memory
    )


def reason(editor: Editor, request: EditRequest) -> list[str] | None:
    """Code and words of why a method does not take a request; None if it does."""
    try:
        check_requests(editor, [request])
    except InvalidInputError as error:
        return said(error)
    return None


def refuse(work: Work, reasons: Sequence[list[str]]) -> None:
    """The result of an edit that was not made: why, for each of its requests."""
    write(work.out / MADE, {"refused": list(reasons)})


def said(error: PatchHubError) -> list[str]:
    """An error's code and words."""
    return [error.code, error.what]


def write(path: Path, value: Mapping[str, object]) -> None:
    """A small result file."""
    path.write_text(json.dumps(value))
