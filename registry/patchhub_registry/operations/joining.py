"""One patch in the place of several: computed on the bare base, judged, and put into the stack.

What can be refused is, before anything is computed. Then, in one commit, the patch comes into the
registry with its verdict, those that it stands for leave the stack, and it enters; a model
directory follows in the same step. Where that fails, nothing has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from patchhub.errors import ConflictError, InvalidInputError, PatchHubError
from patchhub_registry.names import check_name
from patchhub_registry.operations import facts, guarding, keeping, localfiles, models, statistics
from patchhub_registry.operations.changing import Changed, change
from patchhub_registry.operations.conflicts import Rules
from patchhub_registry.operations.rechecking import dependants, recheck
from patchhub_registry.operations.restoring import ENTERS, LEAVES
from patchhub_registry.operations.task import Edit, Made, Task
from patchhub_registry.operations.together import Together
from patchhub_registry.schema import Op
from patchhub_registry.stack import Change

if TYPE_CHECKING:
    from patchhub.canonical import Json
    from patchhub.editing.editor import Dropped
    from patchhub.guard.policy import Policy
    from patchhub.loading import LoadedBase
    from patchhub.patch import Patch
    from patchhub.request import EditRequest
    from patchhub_registry.operations.localfiles import Progress
    from patchhub_registry.registry import Registry


@dataclass(frozen=True, slots=True)
class Joined:
    """Edits solved together.

    Attributes:
        together: What was to be solved.
        edit: The patch and its verdict; None for a dry run.
        changed: The stack before and after; None where it was left as it was.
        recalled: How many targets the patches remembered.
    """

    together: Together
    edit: Edit | None = None
    changed: Changed | None = None
    recalled: int = 0


@dataclass(frozen=True)
class Joining:
    """Edits to be solved together; nothing of it is written yet.

    Attributes:
        together: The edits.
        task: The same as an edit on the patches that stay.
        number: Of the registry's newest policy.
        ruling: The policy in force, which decides what enters a stack; the task's may be another.
        memory: Bytes to use beside the model.
    """

    together: Together
    task: Task
    number: int
    ruling: Policy
    memory: int | None

    def run(
        self,
        *,
        waive: Mapping[str, str] | None,
        said: Mapping[str, Json],
        commit: bool = True,
        out: str | Path | None = None,
        model: str | Path | None = None,
    ) -> Joined:
        """Compute, judge, commit, and change the stack.

        Raises:
            GuardRefusedError: E401; nothing was committed and nothing written.
            ConflictError: E301, a patch that stays says otherwise; E304 to E308.
            InvalidInputError: An edit made before cannot be made again, or none of the new ones
                can be made; E134, nothing would change; what the method says.
        """
        self._check_facts()
        self._check_places(model)
        base = self.task.load()
        recalled, made = self._made(base, waive)
        if commit and not made.passed:
            raise guarding.RefusedError(made.judged.verdict, self.task.label)
        if not commit:
            edit = keeping.keep_one(self.task, base, made, said=said, commit=False, out=out)
            return Joined(self.together, edit, None, recalled)
        made = self._ruled(base, made, waive)
        there, edit = keeping.foreseen(self.task, base, made, said=said)
        with there:
            changed = self._exchange(there, str(edit.ref), model)
        changed = self._checked_again(changed)
        if out is not None:  # last: what is written is in the registry
            made.patch.write(Path(out))
            edit = replace(edit, directory=Path(out))
        return Joined(self.together, edit, changed, recalled)

    def _made(self, base: LoadedBase, waive: Mapping[str, str] | None) -> tuple[int, Made]:
        """The patch and its verdict; new requests may be left out of it, earlier ones never."""
        from patchhub.editing.joint import JointEditor, keep_earlier, same_edits
        from patchhub.editing.maker import Maker

        task, together, weights = self.task, self.together, self.task.record.weights
        supersedes = [item.id for item in together.leaving]
        editor = JointEditor(together.editor, together.patches, supersedes, together.replaced)
        maker = Maker.begin(
            base,
            editor,
            task.requests,
            settings=together.settings,
            seed=together.seed,
            texts=localfiles.texts(task.registry, weights),
            statistics=together.statistics,
            cache=statistics.brought(task.registry, weights),
            memory=self.memory,
            progress=task.progress,
        )
        patch = maker.make(maker.requests)
        keep_earlier(together.patches, together.more, maker.dropped, patch)
        if same_edits(together.patches, patch):
            raise solved_already(together)
        judged = task.judge(base, patch, self._asked(patch), waive)
        gone = (*maker.dropped, *map(_overruled, together.overruled(patch)))
        made = Made(patch, judged, task.label, task.below, gone)
        return editor.recalled, made

    def _asked(self, patch: Patch) -> list[EditRequest]:
        """Its requests with every probe once given for them."""
        known = (*self.together.replaced, *self.task.requests)
        probed = {one.digest(): one for one in known}
        return [probed[one.digest()] for one in patch.requests]

    def _ruled(self, base: LoadedBase, made: Made, waive: Mapping[str, str] | None) -> Made:
        """The same, judged by the policy in force as well, if that is another one.

        Raises:
            GuardRefusedError: E401. DeniedError: E402, it does not let a check be waived.
        """
        if self.ruling.digest == self.task.policy.digest:
            return made
        task, asked = replace(self.task, policy=self.ruling), self._asked(made.patch)
        judged = task.judge(base, made.patch, asked, None)
        if waive and not judged.verdict.passed:
            judged = task.judge(base, made.patch, asked, waive)
        if not judged.verdict.passed:
            raise guarding.RefusedError(judged.verdict, task.label)
        both = (*made.judged.statements, *judged.statements)
        return replace(made, judged=replace(made.judged, statements=tuple(dict.fromkeys(both))))

    def _checked_again(self, changed: Changed) -> Changed:
        """Ask the guard about what was computed on patches that left; no word of it undoes that."""
        task, gone = self.task, [item.id for item in self.together.leaving]
        left = dependants(task.registry, changed.after, gone)
        try:
            again = recheck(
                task.registry, changed.after, left, device=task.device, progress=task.progress
            )
        except PatchHubError:  # it was not asked: the warnings stand
            return changed
        return replace(changed, warnings=(), rechecked=again)

    def _exchange(self, registry: Registry, ref: str, model: str | Path | None) -> Changed:
        """Take out what the patch stands for and push it, in one commit."""
        before = self.together.before
        patch, leaving, changes = registry.resolve(ref), self.together.leaving, self._leaving
        there = registry.preview(before, changes)
        rules = Rules(registry)
        conflicts = rules.on_push(there, patch)
        conflicts += [each for item in leaving for each in rules.on_revert(there, item)]
        for conflict in conflicts:
            if conflict.error is not None:
                raise conflict.error
        evidence = guarding.evidence(registry, patch, there, self.ruling, None)
        pushed = Change(
            Op.PUSH,
            patch.ref,
            reason=ENTERS,
            policy=self.ruling.digest,
            guard=evidence.statement,
            waivers=evidence.waivers,
        )
        return change(
            registry,
            before,
            [*changes, pushed],
            model=model,
            progress=self.task.progress,
            warnings=[each.text for each in conflicts if each.rule == "K8"],
            policy=self.number,
        )

    @property
    def _leaving(self) -> list[Change]:
        return [Change(Op.REVERT, one.ref, reason=LEAVES) for one in self.together.leaving]

    def _check_places(self, model: str | Path | None) -> None:
        """Refuse what the exchange would be refused for, before anything is computed."""
        from patchhub.checkpoint.place import place_of

        if model is not None:
            place_of(Path(model)).refuse_foreign()
        registry = self.task.registry
        there, rules = registry.preview(self.together.before, self._leaving), Rules(registry)
        for item in self.together.leaving:
            for conflict in rules.on_revert(there, item):
                if conflict.error is not None:
                    raise conflict.error

    def _check_facts(self) -> None:
        """Refuse what a patch that stays says otherwise, before anything is computed."""
        name, registry = self.together.before.name, self.task.registry
        ours = dict(facts.said(one.to_json()) for one in self.task.requests)
        for item in self.together.staying:
            theirs = facts.facts(registry, registry.resolve(item.ref))
            for key, target, other in facts.shared(ours, theirs):
                if target != other:
                    raise ConflictError(
                        "E301",
                        f"stack {name!r} already says something else about {key[0]!r}",
                        expected=f"{other!r}, said by {item.ref}",
                        found=f"{target!r}",
                        hint=f"patchhub revert {item.ref} --stack {name}",
                    )


def joining(
    registry: Registry,
    together: Together,
    *,
    name: str | None,
    policy: str | Path | None,
    device: str,
    progress: Progress | None,
    memory: int | None = None,
) -> Joining:
    """Look up what can be refused before a model is loaded.

    Raises:
        InvalidInputError: E101 the name, E146 the policy. NotFoundError: E109.
        IntegrityError: E201, the registry has no such base.
    """
    state = together.before
    label = _label(name, state.name)
    number = max(registry.policies(), default=0)  # first: a later one is then noticed
    ruling = guarding.policy_of(registry)
    rules = ruling if policy is None else guarding.policy_of(registry, policy)
    record = models.base_with(registry, state.base, f"stack {state.name!r}")
    below = tuple(models.read_patch(registry, item.ref) for item in together.staying)
    task = Task(registry, together.requests, label, rules, record, below, device, progress)
    return Joining(together, task, number, ruling, memory)


def _overruled(request: EditRequest) -> Dropped:
    from patchhub.editing.editor import Dropped

    reason = InvalidInputError("E136", "a later request says otherwise about the same fact")
    return Dropped(request, reason)


def _label(name: str | None, stack: str) -> str:
    if name is not None:
        return check_name(name)
    try:
        return check_name(f"{stack}-joint")
    except InvalidInputError as error:
        error.hint = "--name NAME: the stack's own name is too long to make one of it"
        raise


def solved_already(together: Together) -> InvalidInputError:
    """What is said where nothing would change."""
    return InvalidInputError(
        "E134",
        f"{together.leaving[0].ref} is all edits of {together.editor.name} solved together",
        hint="--without EDIT leaves one of them out",
    )
