from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from patchhub import canonical
from patchhub.editing.settings import parse_settings, record_settings
from patchhub.editing.targets import TargetSettings
from patchhub.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    steps: int = 20
    lr: float = 0.5
    clamp: float | None = 4.0
    layer: int | None = None
    covariance: bool = True
    mode: Literal["a", "b"] = "a"
    layers: tuple[int, ...] = (1, 2)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({}, Sample()),
        ({"steps": "7", "lr": "5e-4", "layer": "3"}, Sample(steps=7, lr=5e-4, layer=3)),
        ({"steps": 7, "lr": 1, "covariance": False}, Sample(steps=7, lr=1.0, covariance=False)),
        ({"clamp": "none", "covariance": "No"}, Sample(clamp=None, covariance=False)),
        ({"clamp": None, "mode": "b"}, Sample(clamp=None, mode="b")),
        ({"layers": "4,5"}, Sample(layers=(4, 5))),
        ({"layers": [4]}, Sample(layers=(4,))),
    ],
)
def test_text_and_json_give_the_same_settings(values: dict[str, object], wanted: Sample) -> None:
    assert parse_settings(Sample, values) == wanted


@pytest.mark.parametrize(
    "values",
    [
        {"steps": "many"},
        {"steps": 1.5},
        {"steps": True},
        {"steps": "1" + 400 * "0"},
        {"steps": float("inf")},
        {"lr": 10**400},
        {"lr": "nan"},
        {"lr": "inf"},
        {"covariance": "perhaps"},
        {"covariance": 1},
        {"mode": "c"},
        {"layers": 4},
        {"layers": "x"},
        {"clamp": [1]},
    ],
)
def test_wrong_values_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError) as error:
        parse_settings(Sample, values)
    assert error.value.code == "E142"
    assert error.value.data["setting"] in values


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidInputError, match="no setting 'step'") as error:
        parse_settings(Sample, {"step": 1})
    assert error.value.hint == "did you mean steps?"


@pytest.mark.parametrize(
    "values", [{"lr": 0}, {"steps": 1}, {"clamp": -1}, {"kl": -0.1}, {"weight_decay": "-1"}]
)
def test_settings_classes_check_their_ranges(values: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError) as error:
        parse_settings(TargetSettings, values)
    assert error.value.code == "E142"


def test_the_record_is_canonical_and_exact() -> None:
    record = record_settings(Sample(lr=0.1))
    assert record["lr"] == "0.1"
    assert record["layer"] is None
    assert record["layers"] == [1, 2]
    canonical.dumps(record)
    floats = {"lr": float(str(record["lr"]))}
    assert parse_settings(Sample, floats).lr == 0.1
