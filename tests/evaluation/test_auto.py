"""The search for a method: order, what ends it, what only passes a method over, what is written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from patchhub import canonical
from patchhub.errors import IntegrityError, InvalidInputError, NotFoundError
from patchhub.evaluation.search.attempts import Candidate, Fate, Fault
from patchhub.evaluation.search.auto import NoEditError, NonePassedError, Search, in_order, search
from patchhub.guard.measurement import Effect, Measurement, Outcome
from patchhub.guard.verdict import Verdict
from patchhub.scoring.protocols import Protocol


def measurement(name: str, value: float, effect: Effect, *, rule: str = "all") -> Measurement:
    check, _, measure = name.partition(".")
    outcome = Outcome.FAIL if effect is Effect.BLOCK else Outcome.PASS
    floor = "" if rule == "all" else "0.9" if rule == "rate" else "1.2"
    return Measurement(
        check, measure, Protocol.GENERATION, 0.0, value, value, 4, 0.0, 1.0, rule, floor,
        outcome, effect,
    )  # fmt: skip


def verdict(patch: str, *measurements: Measurement) -> Verdict:
    return Verdict(
        patch, "b" * 64, "", "", (), (), "", 1, "", "", {}, {}, (), measurements, {}
    )  # fmt: skip


GOOD = (measurement("reliability.target", 1.0, Effect.NONE),)
BAD = (measurement("reliability.target", 0.0, Effect.BLOCK),)


@dataclass
class World:
    """Methods that make patches of their own name, and a guard that knows what to say of them."""

    says: Mapping[str, tuple[Measurement, ...] | BaseException]
    made: list[str] = field(default_factory=list)
    judged: list[str] = field(default_factory=list)

    def make(self, method: str) -> Any:
        self.made.append(method)
        said = self.says[method]
        if isinstance(said, BaseException):
            raise said
        record = SimpleNamespace(name=method, hparams={"steps": 2})
        return SimpleNamespace(id=method, manifest=SimpleNamespace(method=record))

    def judge(self, patch: Any) -> Verdict:
        self.judged.append(patch.id)
        said = self.says[patch.id]
        assert isinstance(said, tuple)
        return verdict(patch.id, *said)

    def search(self, *methods: str) -> Search:
        return search([Candidate(one, 1.0, "forecast") for one in methods], self.make, self.judge)


def test_the_first_that_passes_ends_the_search() -> None:
    world = World({"a": GOOD, "b": GOOD})
    found = world.search("a", "b")
    assert [(one.method, one.fate) for one in found.attempts] == [("a", Fate.PASSED)]
    assert found.untried == ("b",)
    assert world.made == ["a"]
    assert found.ensure_passed("x").id == "a"


def test_what_the_guard_refuses_is_kept_with_its_numbers() -> None:
    found = World({"a": BAD, "b": GOOD}).search("a", "b")
    assert [one.fate for one in found.attempts] == [Fate.REFUSED, Fate.PASSED]
    assert found.ensure_passed("x").id == "b"
    said: dict[str, Any] = dict(found.attempts[0].to_json())
    assert said["refused_for"] == ["reliability.target"]
    assert said["settings"] == {"steps": 2}
    (number,) = said["measurements"]
    assert number == {
        "name": "reliability.target",
        "protocol": "generation",
        "n": 4,
        "outcome": "fail",
        "value": "0.0",
        "low": "0.0",
        "high": "1.0",
    }
    canonical.dumps(said)


def test_none_passes_and_the_error_lists_every_one() -> None:
    near = (measurement("locality.base", 0.85, Effect.BLOCK, rule="rate"),)
    far = (measurement("locality.base", 0.1, Effect.BLOCK, rule="rate"),)
    fault = InvalidInputError("E134", "c needs the field subject")
    found = World({"a": (*BAD, *far), "b": far, "c": fault, "d": near}).search("a", "b", "c", "d")
    assert found.patch is None
    with pytest.raises(NonePassedError) as caught:
        found.ensure_passed("born-in")
    error = caught.value
    assert (error.code, error.exit, error.data["best"]) == ("E404", 3, "d")
    assert error.data["refused"] == {
        "a": ["reliability.target", "locality.base"],
        "b": ["locality.base"],
        "c": [],
        "d": ["locality.base"],
    }
    assert error.found is not None
    for text in ("a: reliability.target 0.000 (n = 4)", "c was skipped (E134: c needs the field"):
        assert text in error.found


def test_a_ceiling_lacks_what_is_above_it_and_no_number_lacks_everything() -> None:
    drift = [measurement("drift.kl", v, Effect.BLOCK, rule="ceiling") for v in (9.0, 1.3, math.nan)]
    found = World({"a": (drift[0],), "b": (drift[1],), "c": (drift[2],)}).search("c", "a", "b")
    assert found.best is not None
    assert found.best.method == "b"


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (InvalidInputError("E140", "no such family"), Fault("E140", "no such family")),
        (InvalidInputError("E142", "half"), Fault("E142", "half")),
        (RuntimeError("at\nhome\x7f\udc80"), Fault("", "RuntimeError: at\\nhome\\x7f\\udc80")),
        (ZeroDivisionError(), Fault("", "ZeroDivisionError: ")),
    ],
)
def test_a_method_that_cannot_is_passed_over(error: Exception, fault: Fault) -> None:
    world = World({"a": error, "b": GOOD})
    found = world.search("a", "b")
    assert found.attempts[0].fault == fault
    assert found.attempts[0].fate is Fate.SKIPPED
    assert world.judged == ["b"]
    canonical.dumps(found.attempts[0].to_json())


@pytest.mark.parametrize(
    "error",
    [
        IntegrityError("E149", "the method changed the model"),
        NotFoundError("E109", "the base is gone"),
        OSError("disk"),
        KeyboardInterrupt(),
    ],
)
def test_what_is_not_the_method_s_affair_ends_everything(error: BaseException) -> None:
    with pytest.raises(type(error)):
        World({"a": error, "b": GOOD}).search("a", "b")


def test_no_method_can_and_no_check_said_no() -> None:
    for world, methods in (
        (World({"a": InvalidInputError("E140", "no")}), ("a",)),
        (World({}), ()),
    ):
        with pytest.raises(NoEditError) as caught:
            world.search(*methods).ensure_passed("x")
        assert (caught.value.code, caught.value.exit) == ("E157", 9)


def test_a_long_message_is_cut() -> None:
    found = World({"a": ValueError("x" * 5000)}).search("a")
    fault = found.attempts[0].fault
    assert fault is not None
    assert len(fault.message) < 450


def test_order_measured_then_forecast_then_unknown_then_impossible() -> None:
    asked = []

    def forecast(method: str) -> float | None:
        asked.append(method)
        if method == "never":
            raise InvalidInputError("E140", "not this family")
        return {"quick": 0.5, "slow": 9.0}.get(method)

    names = ("mystery", "never", "slow", "quick", "known", "another")
    found = in_order(names, {"known": (2.0, "bench/x")}, forecast)
    assert [one.method for one in found] == [
        "quick",
        "known",
        "slow",
        "another",
        "mystery",
        "never",
    ]
    assert found[1] == Candidate("known", 2.0, "bench/x")
    assert found[0].source == "forecast"
    assert (found[3].seconds, found[3].source) == (None, "")
    assert found[5].fault == Fault("E140", "not this family")
    assert "known" not in asked
    world = World(dict.fromkeys(names, BAD))
    made = search(found, world.make, world.judge)
    assert "never" not in world.made
    assert made.attempts[-1].fault == Fault("E140", "not this family")


def test_a_forecast_that_fails_for_another_reason_is_not_hidden() -> None:
    def forecast(method: str) -> float:
        raise IntegrityError("E149", "damaged")

    with pytest.raises(IntegrityError):
        in_order(("a",), {}, forecast)
