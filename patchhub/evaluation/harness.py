"""Other tasks by EleutherAI's lm-evaluation-harness, where it is installed.

Its own tasks by name, which fetch their data, or tasks made of questions with choices, which need
nothing (`harness_task`): the sandbox world's, or a file's. What it calls ``acc`` goes by the total
loss, ``acc_norm`` by the loss per byte (Gao et al. 2024, doi:10.5281/zenodo.12608602); the metrics
of `patchhub.scoring.choice` go by the loss per token and by the total.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from transformers import PreTrainedModel

from patchhub.editing.isolation import isolated
from patchhub.errors import NotFoundError, PatchHubError
from patchhub.loading import LoadedBase
from patchhub.scoring.tasks import ChoiceItem

_RESAMPLES = 1000  # for standard errors that have no closed form


@dataclass(frozen=True, slots=True)
class TaskScore:
    """One number of one task.

    Attributes:
        task: Its name.
        metric: As the harness calls it: ``acc``, ``acc_norm``, ``perplexity``, …
        value: The number.
        error: Its standard error; NaN where the harness gives none.
        n: Documents it is from.
    """

    task: str
    metric: str
    value: float
    error: float
    n: int


def harness_task(name: str, items: Sequence[ChoiceItem]) -> dict[str, Any]:
    """A multiple-choice task for `run_harness`, made of questions at hand."""
    rows = [asdict(item) for item in items]

    def documents(**_: object) -> Mapping[str, Any]:
        return {"test": import_module("datasets").Dataset.from_list(rows)}

    return {
        "task": name,
        "custom_dataset": documents,
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{prompt}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
        "target_delimiter": " ",
        "num_fewshot": 0,
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }


def run_harness(
    base: LoadedBase,
    tasks: Sequence[str | Mapping[str, Any]],
    *,
    limit: int | None = None,
    batch_size: int = 16,
) -> list[TaskScore]:
    """The numbers of tasks, asked of the model as it is now.

    The model and all random generators are afterwards as they were.

    Args:
        base: The model, with whatever patches it carries.
        tasks: Names of the harness's own tasks, or what `harness_task` made.
        limit: Documents per task; all without.
        batch_size: Requests per forward pass.

    Raises:
        PatchHubError: E705, the harness is not installed.
        NotFoundError: E109, it has no such task.
    """
    if find_spec("lm_eval") is None:
        raise PatchHubError(
            "E705",
            "these tasks need lm-evaluation-harness, which is not installed",
            expected="the extra `harness`",
            hint="pip install 'patchhub[harness]'",
        )
    manager = import_module("lm_eval.tasks").TaskManager()
    _check_names((task for task in tasks if isinstance(task, str)), manager.all_tasks)
    with isolated(base.model), _heads_kept(base.model):
        model = import_module("lm_eval.models.huggingface").HFLM(
            pretrained=base.model,
            # It gives the tokenizer a padding token where there is none.
            tokenizer=copy.deepcopy(base.tokenizer),
            backend="seq2seq" if base.model.config.is_encoder_decoder else "causal",
            batch_size=batch_size,
        )
        found = import_module("lm_eval").simple_evaluate(
            model=model,
            tasks=[task if isinstance(task, str) else dict(task) for task in tasks],
            limit=limit,
            log_samples=False,
            bootstrap_iters=_RESAMPLES,
            task_manager=manager,
        )
    return list(_scores(found))


@contextmanager
def _heads_kept(model: PreTrainedModel) -> Iterator[None]:
    """The harness ties a model's head to its embedding anew, even where it has one of its own."""
    vars(model)["tie_weights"] = lambda *_, **__: None
    try:
        yield
    finally:
        del vars(model)["tie_weights"]


def _check_names(names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise NotFoundError(
                "E109",
                "lm-evaluation-harness has no such task",
                found=name,
                hint="`lm_eval ls tasks` names them",
            )


def _scores(found: Mapping[str, Any]) -> Iterator[TaskScore]:
    for task, numbers in sorted(found["results"].items()):
        count = int(found["n-samples"].get(task, {}).get("effective", 0))
        for key, value in numbers.items():
            metric, _, filtered = key.partition(",")
            if not filtered or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = numbers.get(f"{metric}_stderr,{filtered}")
            known = isinstance(error, int | float)
            yield TaskScore(
                task, metric, float(value), float(error) if known else float("nan"), count
            )
