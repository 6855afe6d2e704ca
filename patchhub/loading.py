"""A base model in memory: model, tokenizer, fingerprint and architecture, kept together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging import Filter, LogRecord
from pathlib import Path

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
)
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils import logging

from patchhub import fingerprint as fingerprints
from patchhub.errors import InvalidInputError, NotFoundError
from patchhub.fingerprint import Fingerprint
from patchhub.identityfile import require_bare
from patchhub.sites import Architecture, architecture


@dataclass(frozen=True, eq=False)
class LoadedBase:
    """A base model ready to be asked, edited or patched.

    Attributes:
        model: In evaluation mode, without gradients.
        tokenizer: A fast tokenizer (offsets are needed everywhere).
        directory: Where it was loaded from, symlinks resolved.
        fingerprint: Identity of the checkpoint; patches bind to its ``weights``.
        arch: Where things lie in this family.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    directory: Path
    fingerprint: Fingerprint
    arch: Architecture


def load_base(
    directory: Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    fingerprint: Fingerprint | None = None,
) -> LoadedBase:
    """Load a checkpoint directory as a base.

    Args:
        directory: A model directory; a symlink is resolved once, so that a switch meanwhile cannot
            mix two generations.
        dtype: Runtime dtype; edits are computed in float32 or float64.
        device: Where the model goes.
        fingerprint: The checkpoint's fingerprint if already known; computed otherwise.

    Raises:
        NotFoundError: E109, the directory does not exist.
        ConflictError: E309, it says that it holds patches, and no fingerprint of its base is given.
        InvalidInputError: E140, the family is not known; E143, there is no fast tokenizer; E152,
            the device is not there.
    """
    check_device(device)
    resolved = directory.resolve()
    if not (resolved / "config.json").is_file():
        raise NotFoundError(
            "E109",
            f"{directory} is not a model directory",
            expected="a directory with config.json, *.safetensors and tokenizer files",
            found=str(resolved),
        )
    if fingerprint is None:
        require_bare(resolved)
    if not any((resolved / name).is_file() for name in fingerprints.TOKENIZER_FILES):
        raise InvalidInputError(
            "E143",
            f"{directory} holds no tokenizer",
            expected="tokenizer.json beside the weights",
            found="none of the files that tokenizers consist of",
            hint="save the model's tokenizer there: tokenizer.save_pretrained(DIR)",
        )
    identity = fingerprint or fingerprints.fingerprint(resolved)
    model, tokenizer = open_model(resolved, dtype)
    if not tokenizer.is_fast:
        raise InvalidInputError(
            "E143",
            "the tokenizer cannot say which characters a token covers",
            expected="a fast tokenizer (tokenizer.json)",
            found=type(tokenizer).__name__,
        )
    nn.Module.to(model, device).requires_grad_(False)
    model.train(False)
    return LoadedBase(model, tokenizer, resolved, identity, architecture(model.config.model_type))


def open_model(
    directory: Path, dtype: torch.dtype | str = "auto"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read a language model, decoder-only or encoder-decoder, and its tokenizer; nothing is shown.

    Args:
        directory: A model directory.
        dtype: Runtime dtype, or "auto" for the stored one.
    """
    with _quiet():
        config = AutoConfig.from_pretrained(directory, local_files_only=True)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model = kind.from_pretrained(
            directory, config=config, dtype=dtype, local_files_only=True, use_safetensors=True
        )
        return model, AutoTokenizer.from_pretrained(directory, local_files_only=True)


def check_device(device: str | torch.device) -> None:
    """Pass if tensors can lie there.

    Raises:
        InvalidInputError: E152.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidInputError(
            "E152",
            f"no such device: {str(device)!r}",
            expected="cpu, or what torch finds on this machine, such as cuda",
            found=str(error).splitlines()[0][:200],
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own progress bars (whoever calls us shows one) and one false alarm."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    loader = logging.get_logger("transformers.modeling_utils")
    loader.addFilter(_FALSE_ALARM)
    try:
        yield
    finally:
        loader.removeFilter(_FALSE_ALARM)
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


class _FalseAlarm(Filter):
    """Drops the advice to set ``tie_word_embeddings=False``, which T5's configuration ignores."""

    def filter(self, record: LogRecord) -> bool:
        return not record.getMessage().startswith("The tied weights mapping and config")


_FALSE_ALARM = _FalseAlarm()
