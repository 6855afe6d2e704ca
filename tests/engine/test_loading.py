from __future__ import annotations

from pathlib import Path

import pytest
import torch

from patchhub.errors import NotFoundError
from patchhub.fingerprint import fingerprint
from patchhub.loading import load_base
from tests.pico import pico_directory, pico_model


def test_a_base_is_frozen_in_evaluation_mode_and_identified(tmp_path: Path) -> None:
    directory = pico_directory(tmp_path, "gpt2", dtype=torch.bfloat16)
    base = load_base(directory)
    assert base.model.dtype is torch.float32
    assert not base.model.training
    assert not any(p.requires_grad for p in base.model.parameters())
    assert base.fingerprint == fingerprint(directory)
    assert base.arch.model_type == "gpt2"
    stored = load_base(directory, dtype=torch.bfloat16).model.state_dict()
    for name, value in base.model.state_dict().items():
        assert torch.equal(value, stored[name].float())


def test_symlinks_are_resolved_once(tmp_path: Path) -> None:
    directory = pico_directory(tmp_path, "llama")
    link = tmp_path / "link"
    link.symlink_to(directory)
    assert load_base(link).directory == directory.resolve()


def test_what_is_no_model_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as error:
        load_base(tmp_path)
    assert error.value.code == "E109"


def test_loading_shows_no_foreign_progress_bar(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    untied = pico_directory(tmp_path, "t5", tied=False)
    directories = [pico_directory(tmp_path, "gptj"), untied]
    capfd.readouterr()
    for directory in directories:
        load_base(directory)
    out, err = capfd.readouterr()
    assert out == err == ""


def test_an_encoder_decoder_model_is_loaded_as_one(tmp_path: Path) -> None:
    base = load_base(pico_directory(tmp_path, "t5", tied=False))
    assert base.model.config.is_encoder_decoder
    assert base.arch.model_type == "t5"
    stored = base.model.state_dict()
    assert not torch.equal(stored["lm_head.weight"], stored["shared.weight"])
    wanted = pico_model("t5", tied=False).state_dict()
    assert torch.equal(stored["lm_head.weight"], wanted["lm_head.weight"])
