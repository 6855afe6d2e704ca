"""Requests as the references read them: token ids from whole texts, by the tokenizer alone."""

from __future__ import annotations

from collections.abc import Sequence

from patchhub.loading import LoadedBase
from patchhub.request import EditRequest
from tests.reference.ft_reference import Rows
from tests.reference.rome_reference import encode


def plain_rows(base: LoadedBase, requests: Sequence[EditRequest], *, end: bool = False) -> Rows:
    """Prompt and target; a decoder-only model reads the target behind a space."""
    apart = base.model.config.is_encoder_decoder
    closing = [base.tokenizer.eos_token_id] if end and not apart else []
    return [
        (
            encode(base.tokenizer, r.prompt),
            encode(base.tokenizer, r.target if apart else " " + r.target) + closing,
        )
        for r in requests
    ]
