"""Measure a model without and with a patch, judge by a policy, leave the model as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from patchhub import canonical
from patchhub.composer.composer import Composer
from patchhub.errors import InvalidInputError
from patchhub.guard.catalog import check_names, load_check
from patchhub.guard.check import Below, Case, Check, Wants
from patchhub.guard.judging import check_waivers, is_waived, judge
from patchhub.guard.measurement import Measurement
from patchhub.guard.policy import Policy, PromptFormat
from patchhub.guard.probes import BaseProbes
from patchhub.guard.rules import Rule
from patchhub.guard.session import Progress, Seen, Session, unique
from patchhub.guard.verdict import Verdict
from patchhub.loading import LoadedBase
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.scoring.cache import AnswerCache
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.questions import Question


def check(
    base: LoadedBase,
    composer: Composer,
    patch: Patch,
    requests: Sequence[EditRequest],
    policy: Policy,
    *,
    probes: BaseProbes | None = None,
    known: Mapping[str, Sequence[EditRequest]] | None = None,
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
        known: Requests with probes of patches below, by patch id: patches store none.
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
    below = tuple(Below.probed(one, (known or {}).get(one.id, ())) for one in composer.stack)
    tasks = _tasks(policy, Case(tuple(requests), own, patch, below))
    wanted = [(task.protocol, task.wants) for task in tasks]
    session = Session(
        base,
        wanted,
        cache or AnswerCache(),
        max_new_tokens=policy.max_new_tokens,
        chat=policy.prompt_format is PromptFormat.CHAT,
        progress=progress,
    )
    identity, stack = composer.identity, tuple(one.id for one in composer.stack)
    before = session.observe("before", identity)
    with composer.applied(patch):
        after_identity = composer.identity
        after = session.observe("after", after_identity)
        after = session.observe_casts(after, after_identity, composer.stack)
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
    before: Mapping[Protocol, Seen],
    after: Mapping[Protocol, Seen],
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


def _chat(question: Question) -> dict[str, canonical.Json]:
    return {"chat": True} if question.chat else {}


def _digest(tasks: Sequence[_Task]) -> str:
    questions = unique(q for task in tasks for q in task.wants.questions)
    texts = unique(text for task in tasks for text in task.wants.texts)
    openings = unique(text for task in tasks for text in task.wants.openings)
    asked: list[canonical.Json] = [
        {"prompt": q.prompt, "answers": q.answers, "rival": q.rival} | _chat(q) for q in questions
    ]
    chosen = unique(item for task in tasks for item in task.wants.choices)
    return canonical.digest(
        [
            *asked,
            *({"text": text} for text in texts),
            *({"opening": text} for text in openings),
            *(item.to_json() for item in chosen),
        ]
    )
