"""Measure a model without and with a patch, judge by a policy, leave the model as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from patchhub import canonical
from patchhub.composer.composer import Composer
from patchhub.errors import InvalidInputError
from patchhub.guard.catalog import check_names, load_check
from patchhub.guard.check import Case, Check, Wants
from patchhub.guard.judging import check_waivers, is_waived, judge
from patchhub.guard.measurement import Measurement
from patchhub.guard.policy import Policy, Rule
from patchhub.guard.probes import BaseProbes
from patchhub.guard.verdict import Verdict
from patchhub.loading import LoadedBase
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.scoring.cache import AnswerCache
from patchhub.scoring.divergence import TextScore
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.scorer import Answer, Question, Scorer

T = TypeVar("T")

Progress = Callable[[str, int, int], None]
"""Called with a phase (``before``, ``after``), units done and units in all."""


def check(
    base: LoadedBase,
    composer: Composer,
    patch: Patch,
    requests: Sequence[EditRequest],
    policy: Policy,
    *,
    probes: BaseProbes | None = None,
    waive: Mapping[str, str] | None = None,
    cache: AnswerCache | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Measure ``patch`` on top of the composer's stack and judge it.

    Args:
        base: The base; its model carries the composer's stack.
        composer: Puts the patch on and takes it off again, also when a check fails.
        patch: The patch, not in the stack.
        requests: The patch's requests with their probes.
        policy: Which checks count, and how.
        probes: The base's own probes; without them what needs them is undecided.
        waive: Checks (or check.measure) that may fail, each with the reason.
        cache: Keeps answers between calls; in memory for this call without.
        progress: Told phase, units done, units in all.

    Returns:
        The verdict, whatever it says.

    Raises:
        InvalidInputError: E403, the requests are not the patch's; E146 or E151, the policy names
            what does not exist; E150, a probe is too long for the model; E131, a waiver has no
            reason.
        DeniedError: E402, the policy does not allow a waiver.
        IntegrityError: E201, the patch is of another base.
        ConflictError: E306, the patch is in the stack already.
    """
    reasons = dict(waive or {})
    _check_requests(patch, requests)
    check_waivers(policy, reasons)
    own = probes or BaseProbes()
    earlier = tuple(request for below in composer.stack for request in below.requests)
    tasks = _tasks(policy, Case(tuple(requests), own, earlier))
    session = _Session(base, tasks, policy, cache or AnswerCache())
    identity, stack = composer.identity, tuple(below.id for below in composer.stack)
    before = session.observe("before", identity, progress)
    with composer.applied(patch):
        after_identity = composer.identity
        after = session.observe("after", after_identity, progress)
    return Verdict(
        patch=patch.id,
        base=base.fingerprint.weights,
        identity_before=identity,
        identity_after=after_identity,
        stack=stack,
        requests=tuple(request.digest() for request in requests),
        policy=policy.digest,
        policy_version=policy.version,
        probes=own.digest if probes is not None else "",
        questions=_digest(tasks),
        settings=session.settings,
        checks={task.check.name: task.check.version for task in tasks},
        not_run=tuple(n for n in check_names() if n not in {rule.check for rule in policy.rules}),
        measurements=tuple(_measure(task, before, after, reasons) for task in tasks),
        waived=reasons,
    )


@dataclass(frozen=True, slots=True)
class _Task:
    """One number to be measured."""

    rule: Rule
    check: Check
    protocol: Protocol
    case: Case
    wants: Wants


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the model in one state said under one protocol; an `Observed`."""

    answers: Mapping[Question, Answer]
    texts: Mapping[str, TextScore]

    def answer(self, question: Question) -> Answer | None:
        return self.answers.get(question)

    def text(self, text: str) -> TextScore:
        return self.texts[text]


class _Session:
    """Asks everything that all tasks want, in as few batches as possible."""

    def __init__(
        self, base: LoadedBase, tasks: Sequence[_Task], policy: Policy, cache: AnswerCache
    ) -> None:
        self._base = base
        self._cache = cache
        self._max_new_tokens = policy.max_new_tokens
        self._texts = _unique(text for task in tasks for text in task.wants.texts)
        self._questions = {
            protocol: _unique(
                question
                for task in tasks
                if task.protocol is protocol
                for question in task.wants.questions
                if question.answers or protocol is Protocol.GENERATION
            )
            for protocol in Protocol
        }
        self.settings: dict[str, str | int] = {
            "dtype": str(base.model.dtype).removeprefix("torch."),
            "max_new_tokens": policy.max_new_tokens,
        }

    def observe(
        self, phase: str, identity: str, progress: Progress | None
    ) -> Mapping[Protocol, _Seen]:
        """Everything, of the model as it is now."""
        scorer = Scorer(
            self._base.model,
            self._base.tokenizer,
            max_new_tokens=self._max_new_tokens,
            cache=self._cache,
            state=self._state(identity),
        )
        total = len(self._texts) + sum(map(len, self._questions.values()))
        done = 0

        def report(part: int, _: int) -> None:
            if progress is not None:
                progress(phase, done + part, total)

        answers: dict[Protocol, dict[Question, Answer]] = {}
        for protocol, questions in self._questions.items():
            said = scorer.ask(questions, protocol, progress=report)
            answers[protocol] = dict(zip(questions, said, strict=True))
            done += len(questions)
        scores = scorer.texts(self._texts, progress=report)
        if progress is not None:
            progress(phase, total, total)
        texts = dict(zip(self._texts, scores, strict=True))
        return {protocol: _Seen(found, texts) for protocol, found in answers.items()}

    def _state(self, identity: str) -> str:
        fingerprint = self._base.fingerprint
        return canonical.digest(
            {
                "model": identity,
                "config": fingerprint.config,
                "tokenizer": dict(fingerprint.tokenizer),
            }
        )


def _tasks(policy: Policy, case: Case) -> list[_Task]:
    tasks = []
    for rule in policy.rules:
        found = load_check(rule.check)
        if rule.measure not in found.measures:
            raise InvalidInputError(
                "E146",
                f"{policy.source}: check.{rule.name}: the check has no such measure",
                expected=", ".join(found.measures),
                found=rule.measure,
            )
        wants = found.wants(case, rule.measure)
        for protocol in (rule.protocol, *rule.also):
            tasks.append(_Task(rule, found, protocol, case, wants))
    return tasks


def _measure(
    task: _Task,
    before: Mapping[Protocol, _Seen],
    after: Mapping[Protocol, _Seen],
    waive: Mapping[str, str],
) -> Measurement:
    found = task.check.find(
        task.case, task.rule.measure, before[task.protocol], after[task.protocol]
    )
    return judge(task.rule, task.protocol, found, is_waived(task.rule, waive))


def _check_requests(patch: Patch, requests: Sequence[EditRequest]) -> None:
    wanted, found = set(patch.manifest.method.requests), {each.digest() for each in requests}
    if wanted == found:
        return
    raise InvalidInputError(
        "E403",
        f"the requests are not those of {patch.short}",
        expected=f"{len(wanted)} requests that the patch was made for",
        found=f"{len(wanted & found)} of them and {len(found - wanted)} others",
        hint="give the file from which the patch was made",
    )


def _digest(tasks: Sequence[_Task]) -> str:
    questions = _unique(q for task in tasks for q in task.wants.questions)
    texts = _unique(text for task in tasks for text in task.wants.texts)
    asked: list[canonical.Json] = [{"prompt": q.prompt, "answers": q.answers} for q in questions]
    return canonical.digest([*asked, *({"text": text} for text in texts)])


def _unique(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))
