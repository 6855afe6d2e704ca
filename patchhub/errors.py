"""The error family: every failure a user can cause, with a stable code and an exit status.

A message says what is wrong, what was expected, what was found and what to do next. Codes are
stable; scripts may match them. Nothing in this module imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

_LONGEST = 800


class PatchHubError(Exception):
    """Root of all errors raised on purpose.

    Attributes:
        code: Stable identifier such as ``E201``; its meaning is in `CODES`.
        what: One sentence that says what is wrong.
        expected: What would have been right, if that can be said.
        found: What was there instead.
        hint: The next step for the user.
        data: Further values for programs (``--json``).
        exit: Exit status of the command line.
    """

    exit: ClassVar[int] = 1

    def __init__(
        self,
        code: str,
        what: str,
        *,
        expected: object = None,
        found: object = None,
        hint: str | None = None,
        **data: object,
    ) -> None:
        self.code = code
        self.what = _short(what)
        self.expected = None if expected is None else _short(str(expected))
        self.found = None if found is None else _short(str(found))
        self.hint = hint
        self.data = data
        super().__init__(code, self.what)

    def __str__(self) -> str:
        lines = [f"error[{self.code}] {self.what}"]
        for label, value in (
            ("expected", self.expected),
            ("found", self.found),
            ("hint", self.hint),
        ):
            if value is not None:
                lines.append(f"  {label:<8}  {value}")
        return "\n".join(lines)


def _short(text: str) -> str:
    """Damaged files hold names of any length; a message must stay one that can be read."""
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST // 2]} … ({len(text):,} characters) … {text[-_LONGEST // 4 :]}"


@contextmanager
def located(place: object) -> Iterator[None]:
    """Say in every error from inside which directory or file it is about."""
    try:
        yield
    except PatchHubError as error:
        if str(place) not in error.what:
            error.what = f"{place}: {error.what}"
            error.args = (error.code, error.what)
        raise


class GuardRefusedError(PatchHubError):
    """A check ran and the verdict is no."""

    exit = 3


class ConflictError(PatchHubError):
    """Two changes cannot both hold, or a plan is stale."""

    exit = 4


class IntegrityError(PatchHubError):
    """Bytes are not what a digest, a manifest or a chain says they are."""

    exit = 5


class BusyError(PatchHubError):
    """Another process holds the lock."""

    exit = 6


class NotFoundError(PatchHubError, LookupError):
    """A name, version, file or object does not exist."""

    exit = 7


class DeniedError(PatchHubError):
    """The policy forbids it."""

    exit = 8


class InvalidInputError(PatchHubError, ValueError):
    """The input is malformed or does not fit the model."""

    exit = 9


CODES: dict[str, str] = {
    # E10x names and references
    "E101": "not a reference or not a valid name",
    "E102": "no such patch",
    "E103": "no such version",
    "E104": "ambiguous patch id",
    "E105": "not inside a registry",
    "E106": "no such base",
    "E107": "no such stack",
    "E108": "name already taken",
    "E109": "no such file or directory",
    # E11x patch files and manifests
    "E110": "not a safetensors file",
    "E111": "safetensors file is truncated or its header is wrong",
    "E112": "tensor does not fit its site",
    "E113": "manifest field is wrong",
    "E114": "schema is not known",
    "E115": "tensor holds NaN or infinity",
    "E116": "JSON is not canonical",
    "E117": "patch directory lacks a file or holds a foreign one",
    "E118": "patch file is not the one its manifest describes",
    "E120": "payload is not on this machine",
    # E13x requests
    "E130": "request file cannot be parsed",
    "E131": "request field is wrong",
    "E132": "subject does not occur in the prompt",
    "E133": "subject occurs more than once in the prompt",
    "E134": "method needs a field that the request lacks",
    "E135": "record layout is not known",
    "E136": "requests contradict each other",
    "E137": "prompt cannot be put as a chat message",
    # E14x models, methods, settings
    "E140": "model architecture is not known",
    "E141": "no such method",
    "E142": "method setting is wrong",
    "E143": "tokens do not line up with the text",
    "E144": "no such layer or module in the model",
    "E145": "statistics are unusable",
    "E146": "policy file is wrong",
    "E147": "checkpoint directory is incomplete",
    "E148": "optimisation diverged",
    "E149": "method broke the editor contract",
    "E150": "text is longer than the model's context",
    "E151": "no such check",
    "E152": "no such device",
    "E153": "plugin is broken",
    "E154": "results file is wrong",
    "E155": "job failed",
    "E156": "job is wrong",
    "E157": "no method can make the edit",
    "E158": "model does not know the answer",
    "E159": "results do not go together",
    "E160": "no such profile of settings",
    "E161": "trained editor is missing or of another base",
    "E162": "requests do not fit the batch",
    "E163": "slots are full",
    # E2xx integrity
    "E201": "patch was made for another base",
    "E202": "file does not match its digest",
    "E203": "stack chain is broken",
    "E204": "registry object is damaged",
    "E206": "model directory was changed outside PatchHub",
    "E207": "composed bytes are not what the stack says",
    "E208": "something on this machine must be mended",
    # E3xx conflicts
    "E301": "stack already says something about this subject and relation",
    "E302": "patch needs another context",
    "E303": "patch is needed by others in the stack",
    "E304": "plan is stale",
    "E305": "head moved while committing",
    "E306": "patch is already in the stack",
    "E307": "patch is not in the stack",
    "E308": "target directory is not ours to change",
    "E309": "model carries patches already",
    "E310": "interrupted change waits for its registry",
    # E4xx guard and policy
    "E401": "guard said no",
    "E402": "policy does not allow this",
    "E403": "verdict is missing or belongs to another patch",
    "E404": "guard said no to every method",
    "E405": "no method meets every constraint",
    # E5xx busy
    "E501": "lock is held by another process",
    "E502": "file system does not support locks",
    # E7xx the machine
    "E701": "git is missing or too old",
    "E702": "git failed",
    "E703": "arithmetic of this process is not IEEE 754",
    "E704": "the operating system refused",
    "E705": "optional part is not installed",
    "E706": "process ended before its work",
}
"""Meaning of every code; a test holds this table against the sources."""
