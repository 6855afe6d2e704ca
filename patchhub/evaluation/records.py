"""What experiments write down: one number a row, none of them averaged yet. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass

UNEDITED, COLLAPSED = "unedited", "collapsed"
"""Methods that are none: the base as it is, and a model whose next tokens are drawn at random."""

SCORE, ACCURACY, AGREEMENT = "score", "accuracy", "agreement"
MAGNITUDE, VALUE = "magnitude", "value"
"""What a row's number is. Score: share of right probes among those that count. Accuracy: among all
that were asked. Agreement: with the unedited model's answer. Magnitude: difference of probabilities
(likelihood only). Value: a number of another kind, such as a perplexity."""


@dataclass(frozen=True, slots=True)
class Row:
    """One number about one case (or the whole model) in one state of one run.

    Attributes:
        experiment: ``single``, ``batch`` or ``sequential``.
        model: Name of the base.
        method: Name of the way to edit (`Way.name`), or `UNEDITED` or `COLLAPSED`.
        size: Requests per edit.
        order: Number of the shuffle of the requests.
        seed: Of the method.
        step: Requests edited so far when this was asked.
        variant: "" for the plain run; else what was done at its end, see `reading`: ``undone``,
            ``kept``, ``conflicting``, ``superseded``, ``repeated``.
        case: Place of the request among the cases; -1 for a number about the whole model.
        measure: Check and measure, such as ``locality.neighbourhood``.
        protocol: How it was asked.
        figure: What kind of number; see `SCORE` and the others.
        n: Probes (or texts) it is the mean of.
        value: The number.
        before: The same of the unedited model.
    """

    experiment: str
    model: str
    method: str
    size: int
    order: int
    seed: int
    step: int
    variant: str
    case: int
    measure: str
    protocol: str
    figure: str
    n: int
    value: float
    before: float


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """A request of the data set.

    Attributes:
        id: As the data set names it.
        prompt: The edit's prompt.
        subject: What it is about; "" where the request does not say.
        target: The new answer.
        target_old: The old one; "" where the request does not say.
        relation: Of the fact; "" where the request does not say.
    """

    id: str
    prompt: str
    subject: str
    target: str
    target_old: str
    relation: str


@dataclass(frozen=True, slots=True)
class Known:
    """What the unedited model made of a case; the filtered columns go by it.

    Attributes:
        model: Name of the base.
        case: Place among the cases.
        protocol: How it was asked.
        right: The model gives the new answer without any edit.
        old: The model gives the old answer; False where the request names none.
    """

    model: str
    case: int
    protocol: str
    right: bool
    old: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """An edit that a method did not make.

    Attributes:
        experiment: Of the run.
        model: Name of the base.
        method: Name of the method.
        size: Requests per edit.
        order: Number of the shuffle.
        seed: Of the method.
        step: Requests edited when it was tried.
        cases: Places of the requests that it left out.
        code: Of the error.
        message: What the error says.
        variant: Of the state that the edit was made for first; "" for the plain run.
    """

    experiment: str
    model: str
    method: str
    size: int
    order: int
    seed: int
    step: int
    cases: tuple[int, ...]
    code: str
    message: str
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """Work that failed and is to be done again; what hangs on it is not among the results.

    No method's word, as a refusal is one: memory ran out, or a program has a fault.

    Attributes:
        experiment: Of the run.
        model: Name of the base.
        work: What it was, such as ``edit by rome``.
        message: What the error says, with its code or type.
        jobs: How many pieces of work failed so.
    """

    experiment: str
    model: str
    work: str
    message: str
    jobs: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What one edit took; an observation, so it stands in the provenance.

    Attributes:
        experiment: Of the run.
        model: Name of the base.
        method: Name of the method.
        size: Requests in the edit.
        seconds: Wall time of the edit, without loading the model.
        peak_bytes: Most memory the process (on a GPU: its allocator) held until then.
        patch_bytes: Size of the patch's files; of one that stands for earlier edits too, the share
            of one request.
    """

    experiment: str
    model: str
    method: str
    size: int
    seconds: float
    peak_bytes: int
    patch_bytes: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a method takes once for a base, and what its patches add to the model's answer time.

    Attributes:
        model: Name of the base.
        method: Name of the method.
        seconds: Of context templates, key statistics or training.
        peak_bytes: As in `Spent`.
        latency: Time of greedy answers with a patch divided by that without, median of pairs.
    """

    model: str
    method: str
    seconds: float
    peak_bytes: int
    latency: float
