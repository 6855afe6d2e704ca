"""Which requests of a batch share a target.

Requests on one subject have the same key, or nearly, wherever the subject's text and what comes
before it agree; with targets of their own they would be averaged, and the system to be solved would
be singular or nearly so. So they get one target that serves all their prompts. Requests that put
the same prompt and want different answers are refused before (`editing.agreement`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from patchhub.editing.dropping import OF_ALL
from patchhub.editing.editor import EditContext
from patchhub.editing.keyvalue.keys import Prompts
from patchhub.editing.passes.encoder import decoder_start
from patchhub.editing.passes.resume import check_length
from patchhub.editing.targets import Wanted, wanted_for
from patchhub.editing.wording.templates import BARE, ContextTemplates
from patchhub.errors import InvalidInputError
from patchhub.request import EditRequest, Format


@dataclass(frozen=True, slots=True)
class Group:
    """Requests with one target.

    Attributes:
        requests: Their places in the batch, ascending.
        wanted: What must come true of all of them.
        prompts: Where the target is looked up.
    """

    requests: tuple[int, ...]
    wanted: Wanted
    prompts: Prompts


def contexts_of(context: EditContext, count: int) -> ContextTemplates:
    """The bare prompt and the last ``count`` of the other templates, which are the longest."""
    given = (context.templates or BARE).texts
    return ContextTemplates((*BARE.texts, *given[max(1, len(given) - count) :]))


Failed = list[tuple[int, InvalidInputError]]
"""Places of requests in a batch, and why they cannot be edited."""


def gather(
    context: EditContext, requests: Sequence[EditRequest], contexts: int
) -> tuple[list[Group], Failed]:
    """Requests by subject, in the order in which subjects first occur.

    The first prompt of a subject decides more of its target than the others: it is the one of the
    request whose digest comes first, so that a target is a function of the set of its requests.

    Args:
        context: Tokenizer and templates.
        requests: With subjects.
        contexts: As for `contexts_of`.

    Returns:
        Groups, and the requests whose tokens do not line up (E143) or that are too long (E150).

    Raises:
        InvalidInputError: E140, the model does not say how its decoder begins.
    """
    templates = contexts_of(context, contexts)
    parts: dict[str, dict[tuple[Format, str], Wanted]] = {}
    members: dict[str, list[int]] = {}
    failed: Failed = []
    for number, request in sorted(enumerate(requests), key=lambda pair: pair[1].digest()):
        start, end = request.subject_span()
        subject = request.prompt[start:end]
        try:
            wanted = wanted_of(context, templates, request)
        except InvalidInputError as error:
            if error.code in OF_ALL:
                raise
            failed.append((number, error))
            continue
        # The same prompt twice counts once.
        parts.setdefault(subject, {}).setdefault(request.question, wanted)
        members.setdefault(subject, []).append(number)
    groups = [_group(members[name], list(found.values())) for name, found in parts.items()]
    return sorted(groups, key=lambda group: group.requests[0]), failed


def wanted_of(context: EditContext, templates: ContextTemplates, request: EditRequest) -> Wanted:
    """What must come true of one request, which others with its target shall not suffer from.

    Raises:
        InvalidInputError: E132, E133, a subject; E137, a chat; E140, the model; E143, tokens do not
            line up; E150, longer than the model's context.
    """
    model = context.base.model
    wanted = wanted_for(context.base.tokenizer, templates, [request], decoder_start(model))
    check_length(model, (*wanted.rows, wanted.essence))
    return wanted


def of_group(error: InvalidInputError, requests: Sequence[EditRequest]) -> InvalidInputError:
    """Why none of some requests with one target can be edited: names them, if they are several."""
    if len(requests) == 1:
        return error
    return InvalidInputError(
        error.code,
        f"{error.what}: one target for {len(requests)} requests on {requests[0].subject!r}",
        expected=error.expected,
        found=error.found,
        hint=f"leave one of them out: {'; '.join(repr(one.prompt) for one in requests)}",
        **error.data,
    )


def _group(requests: Sequence[int], wanted: Sequence[Wanted]) -> Group:
    together = Wanted(tuple(row for one in wanted for row in one.rows), wanted[0].essence)
    return Group(tuple(sorted(requests)), together, Prompts(tuple(one.rows for one in wanted)))
