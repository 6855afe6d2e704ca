"""Jobs for one base: what each piece of an experiment is made of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

from patchhub import canonical
from patchhub.editing.catalog import load_editor
from patchhub.editing.editor import settings_of
from patchhub.editing.joint import key_value_editor
from patchhub.editing.settings import record_settings
from patchhub.evaluation import place, trained
from patchhub.evaluation.measures import measures_of
from patchhub.evaluation.place import Data
from patchhub.evaluation.setup import Setup
from patchhub.evaluation.work import VERSION, reason
from patchhub.jobs.job import Job
from patchhub.loading import LoadedBase
from patchhub.request import EditRequest
from patchhub.scoring.scorer import ANSWER_VERSION

_WORK = "patchhub.evaluation.work"
_MEASURING = "patchhub.evaluation.measuring"
_JOINT = "patchhub.evaluation.joint_work"


class Planner:
    """Makes jobs; the same arguments always make the same job.

    Args:
        directory: Of the base.
        data: What is asked.
        count: Requests without those that contradict others.
        path: The file that holds the data.
        setup: How it is run.

    Raises:
        InvalidInputError: E142, a setting, or a method whose edits cannot be solved together;
            E140, E143, the model.
        NotFoundError: E109, E141, E151.
    """

    def __init__(self, directory: Path, data: Data, count: int, path: Path, setup: Setup) -> None:
        base = place.place(str(directory), setup.dtype, setup.device).base
        print_ = base.fingerprint
        self.name = directory.resolve().name
        self.weights = print_.weights
        self._data = data
        self._plain = tuple(range(count))
        self._setup = setup
        editors = "" if setup.trained is None else str(setup.trained)
        self._site = {"model": str(directory), "data": str(path), "trained": editors}
        self._base: dict[str, canonical.Json] = {
            "weights": print_.weights,
            "config": print_.config,
            "tokenizer": dict(print_.tokenizer),
            "dtype": setup.dtype,
            "device": setup.device,
            "threads": setup.threads,
            "version": VERSION,
            "libraries": {name: version(name) for name in ("torch", "transformers")},
        }
        self._methods = _described(base, setup, data.requests)
        found = measures_of(data.case(*data.requests), setup.measures)
        self._asked: dict[str, canonical.Json] = {
            "data": data.digest,
            "measures": {measure.name: measure.check.version for measure in found},
            "protocols": [protocol.value for protocol in setup.protocols],
            "max_new_tokens": setup.max_new_tokens,
            "answers": ANSWER_VERSION,
        }
        self.prepare = cache(self._prepare)
        self.unedited = cache(self._unedited)

    def edit(self, method: str, seed: int, cases: Sequence[int], earlier: Sequence[Job]) -> Job:
        """Edit some requests on a model that carries earlier edits."""
        inputs = self._edited(method, seed, "requests", cases)
        return self._job(
            f"{_WORK}:edit", f"edit by {method}", inputs, self.prepare(method, seed), *earlier
        )

    def join(self, method: str, seed: int, cases: Sequence[int], before: Sequence[Job]) -> Job:
        """Edit some requests one after the other, each solved together with all before it.

        Args:
            method: Its name.
            seed: Of the method.
            cases: Places of the requests.
            before: The job that made the edits before, if there are any.
        """
        inputs = self._edited(method, seed, "requests", cases)
        label = f"solve edits by {method} together"
        return self._job(f"{_JOINT}:join", label, inputs, self.prepare(method, seed), *before)

    def leave(self, method: str, seed: int, cases: Sequence[int], before: Sequence[Job]) -> Job:
        """Solve what `join` made anew, without some requests."""
        inputs = self._edited(method, seed, "without", cases)
        label = f"solve edits by {method} without some"
        return self._job(f"{_JOINT}:leave", label, inputs, self.prepare(method, seed), *before)

    def measure(
        self, edits: Sequence[Job], cases: Sequence[int], carried: Sequence[int], *, each: bool
    ) -> Job:
        """Ask about some cases of a model that carries edits."""
        return self._ask("measure", cases, carried, each, self.unedited(each), *edits)

    def collapse(self, each: bool) -> Job:
        """Ask about all cases of a model that says random words."""
        return self._ask("collapse", self._plain, self._plain, each, self.unedited(each))

    def latency(self, edits: Sequence[Job]) -> Job:
        """Compare answer times with and without the patch of the first of some edits."""
        inputs: dict[str, canonical.Json] = {"data": self._data.digest}
        return self._job(f"{_MEASURING}:latency", "answer times", inputs, *edits)

    def _edited(
        self, method: str, seed: int, which: str, cases: Sequence[int]
    ) -> dict[str, canonical.Json]:
        return {
            "method": {**self._methods[method], "seed": seed},
            which: [self._data.requests[i].digest() for i in cases],
        }

    def _prepare(self, method: str, seed: int) -> Job:
        inputs: dict[str, canonical.Json] = {
            "method": {**self._methods[method], "seed": seed},
            "texts": self._data.corpus,
            "fits": any(reason(load_editor(method), r) is None for r in self._data.requests),
        }
        return self._job(f"{_WORK}:prepare", f"prepare {method}", inputs)

    def _unedited(self, each: bool) -> Job:
        return self._ask("unedited", self._plain, self._plain, each)

    def _ask(
        self, run: str, cases: Sequence[int], carried: Sequence[int], each: bool, *needs: Job
    ) -> Job:
        apart = [i for i in cases if each and i % self._setup.whole_every == 0]
        inputs: dict[str, canonical.Json] = {
            **self._asked,
            "cases": list(cases),
            "carried": list(carried),
            "each": each,
            "apart": list(apart),
        }
        return self._job(f"{_MEASURING}:{run}", _SAYS[run], inputs, *needs)

    def _job(self, run: str, label: str, inputs: dict[str, canonical.Json], *needs: Job) -> Job:
        return Job(
            run=run,
            inputs={"base": self._base, **inputs},
            needs=tuple(dict.fromkeys(job.key for job in needs)),
            label=f"{self.name}: {label}",
            site=self._site,
        )


def _described(
    base: LoadedBase, setup: Setup, asked: Sequence[EditRequest]
) -> dict[str, dict[str, canonical.Json]]:
    """What edits by each method depend on, beside base and requests."""
    for method in setup.joint:
        key_value_editor(load_editor(method))
    found: dict[str, dict[str, canonical.Json]] = {}
    for method in dict.fromkeys((*setup.methods, *setup.joint)):
        editor = load_editor(method)
        settings = settings_of(editor, base, setup.settings.get(method))
        weights = base.fingerprint.weights
        settings = trained.named(editor, settings, setup.trained, weights, asked)
        found[method] = {
            "name": method,
            "version": editor.version,
            "settings": dict(record_settings(settings)),
        }
        if setup.memory is not None:  # which may change the last bits of sums
            found[method]["memory"] = setup.memory
    return found


_SAYS = {
    "measure": "ask edited models",
    "collapse": "ask a collapsed model",
    "unedited": "ask the unedited model",
}
