"""The guard on real (pico) models and real patches."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from patchhub import canonical
from patchhub.composer.composer import Composer
from patchhub.errors import (
    ConflictError,
    GuardRefusedError,
    InvalidInputError,
    NotFoundError,
)
from patchhub.guard.guard import check
from patchhub.guard.measurement import Effect, Measurement, Outcome
from patchhub.guard.policy import Policy, default_policy
from patchhub.guard.probes import BaseProbes
from patchhub.guard.verdict import Verdict
from patchhub.loading import LoadedBase, load_base
from patchhub.manifest import Kind, MethodRecord
from patchhub.patch import Patch
from patchhub.request import EditRequest, Probe, ProbeKind
from patchhub.scoring.cache import AnswerCache
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.scorer import Question, Scorer
from patchhub.sites import site_for
from tests.pico import pico_directory

TENSORS = {
    "gpt2": "transformer.h.0.mlp.c_proj.weight",
    "gptj": "transformer.h.0.mlp.fc_out.weight",
    "llama": "model.layers.0.mlp.down_proj.weight",
}
PROMPT = "Mira Tolven was born in"
ALL = Policy.parse(
    b"""
schema = 1
version = 1
[check.reliability.target]
rule = "all"
also = ["teacher_forced"]
[check.locality.base]
rule = "rate"
floor = "0.9"
bound = "point"
n_min = 10
undecided = "warn"
waivable = true
[check.retention.stack]
rule = "all"
undecided = "pass"
[check.drift.perplexity]
rule = "ceiling"
ceiling = "1.05"
bound = "point"
undecided = "pass"
[check.drift.kl]
rule = "ceiling"
ceiling = "0.05"
bound = "point"
undecided = "pass"
""",
    "all.toml",
)


@pytest.fixture(scope="module", params=sorted(TENSORS))
def every_base(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> LoadedBase:
    return load_base(pico_directory(tmp_path_factory.mktemp("base"), request.param))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> LoadedBase:
    return load_base(pico_directory(tmp_path_factory.mktemp("base"), "gpt2"))


@pytest.fixture(scope="module")
def probes(base: LoadedBase) -> BaseProbes:
    return BaseProbes.sample(base, questions=30, texts=8)


def _patch(base: LoadedBase, scale: float, request: EditRequest, seed: int = 0) -> Patch:
    """A dense change of one matrix: nothing at scale 0, ruin at scale 1."""
    name = TENSORS[base.model.config.model_type]
    site = site_for(base.model, base.fingerprint, name)
    generator = torch.Generator().manual_seed(seed)
    delta = scale * torch.randn(site.matrix_shape, generator=generator)
    return Patch.build(
        Kind.DENSE,
        {site.tensor: {"delta": delta}},
        sites=[site],
        base=base.fingerprint.weights,
        method=MethodRecord("test", 1),
        requests=[request],
    )


def _says(base: LoadedBase, prompt: str, *patches: Patch) -> str:
    with Composer.over(base).applied(*patches):
        (found,) = Scorer(base.model, base.tokenizer).ask([Question(prompt)], Protocol.GENERATION)
    return " ".join(found.text.split())


def _request(base: LoadedBase, scale: float) -> EditRequest:
    """A request whose target is what the patched model says."""
    dummy = EditRequest(PROMPT, "x", subject="Mira Tolven")
    target = _says(base, PROMPT, _patch(base, scale, dummy))
    return replace(dummy, target=target)


def _measured(verdict: Verdict, name: str, protocol: str = "generation") -> Measurement:
    (found,) = [m for m in verdict.measurements if m.name == name and m.protocol == protocol]
    return found


def _state(base: LoadedBase) -> dict[str, bytes]:
    return {k: v.numpy().tobytes() for k, v in base.model.state_dict().items()}


def test_a_patch_that_changes_nothing_measures_the_same(every_base: LoadedBase) -> None:
    base = every_base
    probes = BaseProbes.sample(base, questions=20, texts=6)
    request = EditRequest(PROMPT, "Oslo", subject="Mira Tolven")
    verdict = check(
        base, Composer.over(base), _patch(base, 0.0, request), [request], ALL, probes=probes
    )
    for name in ("reliability.target", "locality.base"):
        found = _measured(verdict, name)
        assert found.before == found.after
    forced = _measured(verdict, "reliability.target", "teacher_forced")
    assert forced.before == forced.after
    assert _measured(verdict, "locality.base").value == 1.0
    assert _measured(verdict, "locality.base").n >= 10
    assert _measured(verdict, "drift.kl").value == 0.0
    assert _measured(verdict, "drift.perplexity").value == 1.0
    assert verdict.identity_before != verdict.identity_after


def test_ruin_is_refused_and_the_edit_itself_seen(base: LoadedBase, probes: BaseProbes) -> None:
    request = _request(base, 1.0)
    verdict = check(
        base, Composer.over(base), _patch(base, 1.0, request), [request], ALL, probes=probes
    )
    edit = _measured(verdict, "reliability.target")
    assert (edit.before, edit.after, edit.outcome) == (0.0, 1.0, Outcome.PASS)
    harm = _measured(verdict, "locality.base")
    assert harm.value < 0.5
    assert (harm.outcome, harm.effect) == (Outcome.FAIL, Effect.BLOCK)
    assert harm.failures
    assert harm.failures[0].before != harm.failures[0].after
    assert _measured(verdict, "drift.kl").value > 0.05
    assert not verdict.passed
    with pytest.raises(GuardRefusedError) as caught:
        verdict.ensure_passed()
    assert caught.value.code == "E401"
    assert "locality.base: rate 0.9" in str(caught.value)


def test_model_stack_and_generators_are_left_as_they_were(
    every_base: LoadedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = every_base
    request = EditRequest(PROMPT, "Oslo", subject="Mira Tolven")
    below = _patch(base, 0.3, EditRequest("Jon Arvel lives in", "Rome"), seed=5)
    composer = Composer.over(base)
    composer.apply(below)
    base.model.train()
    modes = [module.training for module in base.model.modules()]
    before, numbers, draws = _state(base), torch.get_rng_state(), random.getstate()
    probes = BaseProbes((Question("The capital of Norway is"),), ("Rome is old.",))
    patch = _patch(base, 1.0, request)

    def as_before() -> bool:
        return (
            _state(base) == before
            and composer.stack == (below,)
            and [module.training for module in base.model.modules()] == modes
            and torch.equal(torch.get_rng_state(), numbers)
            and random.getstate() == draws
        )

    check(base, composer, patch, [request], ALL, probes=probes)
    assert as_before()

    calls = 0
    whole = Scorer.texts

    def failing(self: Scorer, *args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:  # with the patch on
            assert _state(base) != before
            raise RuntimeError("a check broke")
        return whole(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Scorer, "texts", failing)
    with pytest.raises(RuntimeError, match="a check broke"):
        check(base, composer, patch, [request], ALL, probes=probes)
    assert as_before()
    composer.set_stack([])
    base.model.train(False)


def test_verdict_is_canonical_and_repeatable(
    base: LoadedBase, probes: BaseProbes, tmp_path: Path
) -> None:
    request = _request(base, 0.4)
    patch = _patch(base, 0.4, request)
    composer = Composer.over(base)
    first = check(base, composer, patch, [request], ALL, probes=probes)
    cache = AnswerCache(tmp_path)
    again = check(base, composer, patch, [request], ALL, probes=probes, cache=cache)
    cached = check(
        base, composer, patch, [request], ALL, probes=probes, cache=AnswerCache(tmp_path)
    )
    assert first.digest == again.digest == cached.digest
    data = canonical.dumps(first.to_json())
    assert canonical.loads(data, what="verdict") == first.to_json()
    said = first.to_json()
    assert said["patch"] == patch.id
    assert said["policy"] == ALL.digest
    assert said["probes"] == probes.digest
    assert said["base"] == base.fingerprint.weights
    assert said["requests"] == [request.digest()]
    assert not {"time", "created", "date", "host", "path"} & set(said)
    other = check(base, composer, patch, [request], ALL, probes=BaseProbes())
    assert other.digest != first.digest


def test_cached_answers_are_not_asked_again(
    base: LoadedBase, probes: BaseProbes, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = EditRequest(PROMPT, "Oslo", subject="Mira Tolven")
    patches = [_patch(base, 0.1, request, seed) for seed in (1, 2)]
    composer, cache, rows = Composer.over(base), AnswerCache(), 0

    def counting(self: Scorer, batch: list[list[int]], limit: int) -> object:
        nonlocal rows
        rows += len(batch)
        return whole(self, batch, limit)

    whole = Scorer._generated
    monkeypatch.setattr(Scorer, "_generated", counting)
    check(base, composer, patches[0], [request], ALL, probes=probes, cache=cache)
    first = rows
    check(base, composer, patches[1], [request], ALL, probes=probes, cache=cache)
    assert rows == first + first // 2  # the second time only the patched model


def test_without_probes_undecided_means_what_the_policy_says(base: LoadedBase) -> None:
    request = _request(base, 1.0)
    patch = _patch(base, 1.0, request)
    verdict = check(base, Composer.over(base), patch, [request], ALL)
    assert verdict.passed
    assert [m.name for m in verdict.warnings] == ["locality.base"]
    assert verdict.probes == ""
    strict = Policy(1, tuple(replace(r, undecided=type(r.undecided)("fail")) for r in ALL.rules))
    verdict = check(base, Composer.over(base), patch, [request], strict)
    assert {m.name for m in verdict.blocking} >= {"locality.base", "drift.kl"}


def test_waived_failures_pass_and_stay_visible(base: LoadedBase, probes: BaseProbes) -> None:
    request = _request(base, 1.0)
    patch = _patch(base, 1.0, request)
    drifts = Policy(1, tuple(r for r in ALL.rules if r.check != "drift"), source="p.toml")
    reason = {"locality": "the base is retired next week"}
    verdict = check(
        base, Composer.over(base), patch, [request], drifts, probes=probes, waive=reason
    )
    assert verdict.passed
    assert _measured(verdict, "locality.base").outcome is Outcome.WAIVED
    assert verdict.waived == verdict.to_json()["waived"] == reason
    assert [m.name for m in verdict.warnings] == ["locality.base"]


def test_edits_of_the_stack_below_are_retained_or_not(base: LoadedBase) -> None:
    first = _request(base, 0.6)
    below = _patch(base, 0.6, first)
    composer = Composer.over(base)
    composer.apply(below)
    request = EditRequest("Jon Arvel lives in", "Rome", subject="Jon Arvel")
    mild = check(base, composer, _patch(base, 0.0, request), [request], ALL)
    assert mild.stack == (below.id,)
    kept = _measured(mild, "retention.stack")
    assert (kept.n, kept.value) == (1, 1.0)
    harsh = check(base, composer, _patch(base, 1.0, request, seed=3), [request], ALL)
    lost = _measured(harsh, "retention.stack")
    assert (lost.value, lost.effect) == (0.0, Effect.BLOCK)
    composer.set_stack([])


def test_probes_of_the_request_and_long_answers(base: LoadedBase) -> None:
    long = "a very long answer indeed, of many more tokens than twelve"
    request = EditRequest(
        PROMPT,
        long,
        subject="Mira Tolven",
        probes=(
            Probe(ProbeKind.PARAPHRASE, "Mira Tolven comes from", (long,)),
            Probe(ProbeKind.NEIGHBOURHOOD, "Jon Arvel was born in"),
        ),
    )
    patch = _patch(base, 0.0, request)
    verdict = check(base, Composer.over(base), patch, [request], default_policy())
    assert verdict.settings["max_new_tokens"] == 12
    assert _measured(verdict, "generalization.paraphrase").n == 1
    assert _measured(verdict, "locality.neighbourhood").value == 1.0
    forced = Policy(
        1, tuple(replace(r, protocol=Protocol.TEACHER_FORCED, also=()) for r in ALL.rules)
    )
    probes = BaseProbes((Question("The capital of Norway is"), Question("x is", ("y",))))
    verdict = check(base, Composer.over(base), patch, [request], forced, probes=probes)
    assert _measured(verdict, "locality.base", "teacher_forced").details["asked"] == 1


def test_what_does_not_fit_is_refused(base: LoadedBase) -> None:
    request = EditRequest(PROMPT, "Oslo", subject="Mira Tolven")
    patch, composer = _patch(base, 0.1, request), Composer.over(base)
    with pytest.raises(InvalidInputError) as caught:
        check(base, composer, patch, [replace(request, target="Rome")], ALL)
    assert caught.value.code == "E403"
    wrong = [replace(r, measure="nearby") for r in ALL.rules if r.check == "locality"]
    with pytest.raises(InvalidInputError) as caught:
        check(base, composer, patch, [request], Policy(1, tuple(wrong), source="p.toml"))
    assert caught.value.code == "E146"
    assert "p.toml: check.locality.nearby" in str(caught.value)
    alien = [replace(ALL.rules[0], check="reliabilty")]
    with pytest.raises(NotFoundError) as missing:
        check(base, composer, patch, [request], Policy(1, tuple(alien)))
    assert missing.value.code == "E151"
    composer.apply(patch)
    with pytest.raises(ConflictError) as conflict:
        check(base, composer, patch, [request], ALL)
    assert conflict.value.code == "E306"
    composer.set_stack([])


def test_progress_goes_through_both_phases(base: LoadedBase, probes: BaseProbes) -> None:
    request = EditRequest(PROMPT, "Oslo", subject="Mira Tolven")
    seen: list[tuple[str, int, int]] = []
    check(
        base,
        Composer.over(base),
        _patch(base, 0.1, request),
        [request],
        ALL,
        probes=probes,
        progress=lambda *step: seen.append(step),
    )
    for phase in ("before", "after"):
        steps = [(done, total) for name, done, total in seen if name == phase]
        assert steps == sorted(steps)
        assert steps[-1][0] == steps[-1][1] > 30
