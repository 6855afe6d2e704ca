from __future__ import annotations

from pathlib import Path

import pytest

from patchhub import canonical
from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.guard.policy import Policy, PromptFormat, default_policy, default_policy_text
from patchhub.guard.rules import Bound, RuleKind, Undecided
from patchhub.scoring.protocols import Protocol

HEAD = "schema = 1\nversion = 3\n"
RATE = '[check.locality.base]\nrule = "rate"\nfloor = "0.9"\n'


def _parse(text: str) -> Policy:
    return Policy.parse(text.encode(), "p.toml")


def test_what_is_left_out_is_read_strictly() -> None:
    (rule,) = _parse(HEAD + RATE).rules
    assert rule.name == "locality.base"
    assert (rule.kind, rule.limit, rule.bound) == (RuleKind.RATE, "0.9", Bound.LOWER)
    assert (rule.n_min, rule.undecided) == (1, Undecided.FAIL)
    assert rule.required
    assert not rule.waivable
    assert not _parse(HEAD + RATE).override
    assert rule.protocol is Protocol.GENERATION
    (ceiling,) = _parse(HEAD + '[check.drift.kl]\nrule = "ceiling"\nceiling = "0.1"\n').rules
    assert ceiling.bound is Bound.UPPER


def test_every_field_is_read() -> None:
    policy = _parse(
        HEAD
        + 'protocol = "teacher_forced"\nmax_new_tokens = 7\noverride = true\n'
        + 'prompt_format = "plain"\n'
        + RATE
        + 'bound = "point"\nn_min = 5\nundecided = "warn"\nrequired = false\nwaivable = true\n'
        + 'protocol = "generation"\n'
        + 'also = ["teacher_forced", "likelihood", "generation+instruction"]\n'
        + '[check.reliability.target]\nrule = "all"\n'
    )
    rate, every = policy.rules
    assert (rate.bound, rate.n_min, rate.undecided) == (Bound.POINT, 5, Undecided.WARN)
    assert (rate.required, rate.waivable) == (False, True)
    assert rate.protocol is Protocol.GENERATION
    assert rate.also == (Protocol.TEACHER_FORCED, Protocol.LIKELIHOOD, Protocol.INSTRUCTION)
    assert every.protocol is Protocol.TEACHER_FORCED
    assert (policy.version, policy.max_new_tokens, policy.override) == (3, 7, True)
    assert policy.prompt_format is PromptFormat.PLAIN


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (HEAD + RATE + "flor = 1\n", "check.locality.base.flor"),
        (HEAD + RATE + 'ceiling = "1"\n', "check.locality.base.ceiling"),
        (HEAD + "colour = 1\n" + RATE, "colour"),
        (HEAD + 'prompt_format = "poem"\n' + RATE, "prompt_format"),
        (HEAD + RATE.replace('"0.9"', "0.9"), "check.locality.base.floor"),
        (HEAD + RATE.replace('"0.9"', '"90%"'), "check.locality.base.floor"),
        (HEAD + RATE.replace('"0.9"', '"1.5"'), "check.locality.base.floor"),
        (HEAD + RATE.replace('"0.9"', '"nan"'), "check.locality.base.floor"),
        (HEAD + RATE.replace('floor = "0.9"\n', ""), "check.locality.base.floor"),
        (HEAD + RATE.replace('"rate"', '"most"'), "check.locality.base.rule"),
        (HEAD + RATE + "n_min = 0\n", "check.locality.base.n_min"),
        (HEAD + RATE + "n_min = true\n", "check.locality.base.n_min"),
        (HEAD + RATE + 'n_min = "5"\n', "check.locality.base.n_min"),
        (HEAD + RATE + 'required = "yes"\n', "check.locality.base.required"),
        (HEAD + RATE + 'undecided = "maybe"\n', "check.locality.base.undecided"),
        (HEAD + RATE + 'bound = "upper95"\n', "check.locality.base.bound"),
        (HEAD + RATE + 'protocol = "judge"\n', "check.locality.base.protocol"),
        (HEAD + RATE + 'also = ["generation"]\n', "check.locality.base.also"),
        (HEAD + RATE + 'also = ["judge"]\n', "check.locality.base.also"),
        (HEAD + '[check.locality]\nbase = "all"\n', "check.locality.base"),
        (HEAD + '[check.Loc.base]\nrule = "all"\n', "check.Loc"),
        (HEAD + "[check.locality]\n", "check"),
        (HEAD, "check"),
        ("version = 1\n" + RATE, "schema"),
        ("schema = 2\nversion = 1\n" + RATE, "schema"),
        ("schema = 1\n" + RATE, "version"),
        (HEAD + '[check.a.b]\nrule = "report"\nfloor = "0.5"\n', "check.a.b.floor"),
        (HEAD + '[check.a.b]\nrule = "report"\nrequired = true\n', "check.a.b.required"),
        (HEAD + '[check.a.b]\nrule = "all"\nfloor = "0.5"\n', "check.a.b.floor"),
    ],
)
def test_wrong_fields_are_named(text: str, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        _parse(text)
    assert caught.value.code == "E146"
    assert caught.value.data["field"] == field
    assert f"p.toml: {field}" in str(caught.value)


def test_a_float_is_refused_with_the_way_to_write_it() -> None:
    with pytest.raises(InvalidInputError) as caught:
        _parse(HEAD + RATE.replace('"0.9"', "0.9"))
    assert caught.value.hint == 'write floor = "0.9"'


@pytest.mark.parametrize("data", [b"schema = ", b"\xff", b"a = 1\na = 2"])
def test_not_toml(data: bytes) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Policy.parse(data, "p.toml")
    assert caught.value.code == "E146"
    assert "p.toml" in str(caught.value)


def test_digest_is_of_the_meaning() -> None:
    plain = _parse(HEAD + RATE)
    assert plain.digest == _parse(HEAD + "# why\n" + RATE + "n_min = 1\n").digest
    assert plain.digest == Policy.parse((HEAD + RATE).encode(), "other.toml").digest
    assert plain.digest != _parse(HEAD + RATE + "n_min = 2\n").digest
    assert plain.digest != _parse(HEAD.replace("3", "4") + RATE).digest
    assert canonical.digest(plain.to_json()) == plain.digest


def test_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(HEAD + RATE)
    assert Policy.read(file).digest == _parse(HEAD + RATE).digest
    with pytest.raises(NotFoundError) as caught:
        Policy.read(tmp_path / "none.toml")
    assert caught.value.code == "E109"


def test_the_shipped_policy() -> None:
    policy = default_policy()
    rules = {rule.name: rule for rule in policy.rules}
    assert rules["reliability.target"].kind is RuleKind.ALL
    assert rules["reliability.target"].also == (Protocol.TEACHER_FORCED, Protocol.LIKELIHOOD)
    assert all(rule.kind is RuleKind.REPORT for rule in policy.rules if rule.check == "portability")
    assert rules["drift.perplexity"].limit == "1.05"
    # Every judged number says in its own line where it comes from.
    lines = default_policy_text().splitlines()
    for line in lines:
        if line.startswith(("floor", "ceiling")):
            assert "#" in line, line
