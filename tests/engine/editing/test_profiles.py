from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import patchhub
from patchhub.editing import profiles as data
from patchhub.editing.catalog import editor_names, load_editor
from patchhub.editing.editor import settings_of
from patchhub.editing.profiles import Shape, known_models, profile_values, profiles
from patchhub.editing.settings import parse_settings
from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.sites import known_architectures
from tests.engine.editing.support import pico_base

FOLDER = Path(patchhub.__file__).parent / "profiles"
FILES = sorted({path.stem for path in FOLDER.glob("*.json")} - {"models"})


def test_every_file_is_of_a_method_and_every_model_of_a_known_family() -> None:
    assert set(FILES) <= set(editor_names())
    assert {shape.model_type for shape in known_models().values()} <= set(known_architectures())


@pytest.mark.parametrize("method", FILES)
def test_profiles_are_settings_of_their_method(method: str) -> None:
    kind = load_editor(method).hparams
    names = [profile.name for profile in profiles(method)]
    assert names == sorted(set(names))
    for profile in profiles(method):
        assert profile.source
        for model, values in profile.models.items():
            settings = parse_settings(kind, values)
            blocks = known_models()[model].blocks
            layers = getattr(settings, "layers", None) or (getattr(settings, "layer", None) or 0,)
            assert 0 <= min(layers) <= max(layers) < blocks, (profile.name, model)


@pytest.mark.parametrize(
    ("method", "profile", "model", "values"),
    [
        ("rome", "rome", "gpt2-xl", {"layer": 17, "clamp": 4, "covariance": True}),
        ("rome", "rome-easyedit", "llama-2-7b", {"weight_decay": 1e-3, "covariance": False}),
        ("memit", "memit", "gpt-j-6b", {"layers": [3, 4, 5, 6, 7, 8], "covariance_weight": 15000}),
        ("memit", "memit-alphaedit", "llama-3-8b", {"lr": 0.1, "clamp": 0.75}),
        ("ft", "ft-easyedit", "t5-3b", {"layers": [0, 21], "steps": 50, "alignment": "reference"}),
        ("kn", "kn-easyedit", "llama-3-8b", {"steps": 1, "threshold": 0.2}),
        ("r_rome", "r-rome-easyedit", "gpt2-xl", {"covariance": False, "mode": "random_prefix"}),
        ("pmet", "pmet", "gpt-j-6b", {"steps": 30, "lr": 0.2, "kl": 1, "covariance_weight": 6000}),
        ("emmet", "emmet-easyedit", "gpt-j-6b", {"layers": [5], "covariance_weight": 100000}),
        ("alphaedit", "alphaedit-easyedit", "llama-3.1-8b", {"ridge": 10, "lr": 0.1}),
    ],
)
def test_some_values_of_the_papers(
    method: str, profile: str, model: str, values: dict[str, object]
) -> None:
    found = next(each for each in profiles(method) if each.name == profile).models[model]
    assert {name: found[name] for name in values} == values


def _known_as(monkeypatch: pytest.MonkeyPatch, **models: Shape) -> None:
    monkeypatch.setattr(data, "known_models", lambda: models)


def test_a_model_is_known_by_its_shape_and_told_apart_by_its_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = pico_base("gpt2")
    shape = Shape.of(base)
    assert shape == Shape("gpt2", 2, 32, 128, 64)
    made = data.Profile("lab", "here", "", {"short": {"lr": 0.1}, "long": {"lr": 0.2}})
    monkeypatch.setattr(data, "profiles", lambda method: (made,))
    _known_as(monkeypatch, short=replace(shape, context=32), long=replace(shape, context=64))
    assert profile_values("rome", "lab", base) == {"lr": 0.2}
    _known_as(monkeypatch, short=replace(shape, context=32), long=replace(shape, blocks=3))
    assert profile_values("rome", "lab", base) == {"lr": 0.1}


def test_what_is_set_goes_before_the_profile_and_that_before_the_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, editor = pico_base("gpt2"), load_editor("rome")
    own = {"settings": {"rome": {"lr": 0.3, "kl": 0.4, "clamp": 9.0}}}
    monkeypatch.setattr(base.model.config, "patchhub", own, raising=False)
    made = data.Profile("lab", "here", "", {"pico": {"lr": 0.2, "kl": 0.25}})
    monkeypatch.setattr(data, "profiles", lambda method: (made,))
    _known_as(monkeypatch, pico=Shape.of(base))
    found = settings_of(editor, base, {"profile": "lab", "lr": 0.1})
    assert (found.lr, found.kl, found.clamp, found.steps) == (0.1, 0.25, 9.0, 20)
    assert settings_of(editor, base, {"lr": 0.1}).kl == 0.4


def test_profiles_that_are_not_there_are_refused_by_name() -> None:
    base, editor = pico_base("gpt2"), load_editor("rome")
    with pytest.raises(NotFoundError) as caught:
        settings_of(editor, base, {"profile": "rome-easyedi"})
    assert (caught.value.code, caught.value.hint) == ("E160", "did you mean rome-easyedit?")
    with pytest.raises(NotFoundError) as caught:
        settings_of(editor, base, {"profile": "rome"})
    assert caught.value.code == "E160"
    assert "gpt2-xl (gpt2, 48 blocks, 1600 and 6400 wide)" in str(caught.value.expected)
    assert caught.value.found == "gpt2, 2 blocks, 32 and 128 wide"
    with pytest.raises(NotFoundError, match="E160"):
        settings_of(load_editor("lora"), base, {"profile": "lora"})
    with pytest.raises(InvalidInputError) as refused:
        settings_of(editor, base, {"profile": 3})
    assert refused.value.code == "E142"
