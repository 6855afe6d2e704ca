"""The guard's other states and protocols, on real (pico) models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from patchhub import api
from patchhub.composer.composer import Composer
from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.guard.check import Wants
from patchhub.guard.guard import check
from patchhub.guard.measurement import Measurement
from patchhub.guard.policy import Policy
from patchhub.guard.session import Session
from patchhub.guard.verdict import Verdict
from patchhub.loading import LoadedBase, load_base
from patchhub.manifest import Kind, MethodRecord
from patchhub.patch import Patch
from patchhub.request import EditRequest
from patchhub.scoring.cache import AnswerCache
from patchhub.scoring.instruction import SHORT_ANSWER
from patchhub.scoring.protocols import Protocol
from patchhub.scoring.scorer import Question, Scorer
from patchhub.sites import site_for
from tests.pico import pico_directory

PROMPT = "Mira Tolven was born in"
TENSOR = "transformer.h.0.mlp.c_proj.weight"
POLICY = Policy.parse(
    b"""
schema = 1
version = 1
[check.reliability.target]
rule = "all"
undecided = "pass"
also = ["likelihood"]
[check.survival.bfloat16]
rule = "all"
undecided = "pass"
[check.fluency.entropy]
rule = "report"
[check.fluency.repetition]
rule = "report"
[check.overlap.keys]
rule = "report"
"""
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> LoadedBase:
    return load_base(pico_directory(tmp_path_factory.mktemp("base"), "gpt2"))


def _patch(base: LoadedBase, scale: float, request: EditRequest) -> Patch:
    site = site_for(base.model, base.fingerprint, TENSOR)
    delta = scale * torch.randn(site.matrix_shape, generator=torch.Generator().manual_seed(0))
    return Patch.build(
        Kind.DENSE,
        {site.tensor: {"delta": delta}},
        sites=[site],
        base=base.fingerprint.weights,
        method=MethodRecord("test", 1),
        requests=[request],
    )


def _edit(base: LoadedBase, scale: float) -> tuple[EditRequest, Patch]:
    """A request whose target is what the patched model says."""
    draft = EditRequest(PROMPT, "x", target_old="Oslo")
    with Composer.over(base).applied(_patch(base, scale, draft)):
        (said,) = Scorer(base.model, base.tokenizer).ask([Question(PROMPT)], Protocol.GENERATION)
    request = replace(draft, target=" ".join(said.text.split()))
    return request, _patch(base, scale, request)


def _measured(verdict: Verdict, name: str, protocol: str = "generation") -> Measurement:
    (found,) = [m for m in verdict.measurements if m.name == name and m.protocol == protocol]
    return found


def test_nothing_changed_is_nothing_found(base: LoadedBase) -> None:
    request, _ = _edit(base, 1.0)
    verdict = check(base, Composer.over(base), _patch(base, 0.0, request), [request], POLICY)
    entropy = _measured(verdict, "fluency.entropy")
    assert (entropy.value, entropy.low, entropy.high) == (0.0, 0.0, 0.0)
    assert entropy.before == entropy.after > 0
    assert entropy.n == 4
    forced = _measured(verdict, "reliability.target", "likelihood")
    assert forced.before == forced.after
    assert forced.details["magnitude_before"] == forced.details["magnitude_after"]
    assert verdict.settings == {"dtype": "float32", "max_new_tokens": 12}


def test_survival_is_what_the_deployed_model_says(base: LoadedBase) -> None:
    request, patch = _edit(base, 1.0)
    state = {name: value.clone() for name, value in base.model.state_dict().items()}
    verdict = check(base, Composer.over(base), patch, [request], POLICY)
    found = _measured(verdict, "survival.bfloat16")
    deployed = api.load(base.directory, [patch], dtype=torch.bfloat16)
    (said,) = Scorer(deployed, base.tokenizer).ask(
        [Question(PROMPT, (request.target,))], Protocol.GENERATION
    )
    assert (found.before, found.n) == (1.0, 1)
    assert found.after == said.score
    assert found.trials[0].failure.after == said.text
    # The likelihood of the edit was asked of the whole model, not of the cast one.
    assert all(torch.equal(state[k], v) for k, v in base.model.state_dict().items())
    assert base.model.dtype is torch.float32


def test_a_base_that_runs_in_the_dtype_is_not_loaded_again(
    base: LoadedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    low = load_base(base.directory, dtype=torch.bfloat16, fingerprint=base.fingerprint)
    request, patch = _edit(low, 1.0)
    monkeypatch.setattr("patchhub.guard.session.load_base", None)
    verdict = check(low, Composer.over(low), patch, [request], POLICY)
    assert _measured(verdict, "survival.bfloat16").value == 1.0
    assert verdict.settings["dtype"] == "bfloat16"


def test_there_is_no_such_dtype(base: LoadedBase) -> None:
    wanted = [(Protocol.GENERATION, Wants((Question(PROMPT),), cast="int4"))]
    session = Session(base, wanted, AnswerCache(), max_new_tokens=POLICY.max_new_tokens)
    after = session.observe("after", "i")
    with pytest.raises(InvalidInputError) as caught:
        session.observe_casts(after, "i", [])
    assert caught.value.code == "E146"


def test_the_instruction_goes_into_the_verdict(
    base: LoadedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(SHORT_ANSWER, request="Go.", examples=())
    monkeypatch.setattr("patchhub.guard.session.SHORT_ANSWER", short)
    request, patch = _edit(base, 1.0)
    rules = tuple(replace(r, also=(Protocol.INSTRUCTION,)) for r in POLICY.rules[:1])
    verdict = check(base, Composer.over(base), patch, [request], Policy(1, rules))
    assert _measured(verdict, "reliability.target", "generation+instruction").n == 1
    assert verdict.settings["instruction"] == short.digest(base.tokenizer)


def test_report_from_python(base: LoadedBase, tmp_path: Path) -> None:
    request, patch = _edit(base, 1.0)
    verdict = api.check(base, patch, request, policy=POLICY, report=tmp_path / "v")
    for file in (tmp_path / "v.md", tmp_path / "v.html"):
        assert verdict.digest in file.read_text()
    with pytest.raises(NotFoundError) as caught:
        api.check(base, patch, request, policy=POLICY, report=tmp_path / "none" / "v")
    assert caught.value.code == "E109"
