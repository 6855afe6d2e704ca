"""Everything that a command imports, imported once before the forks."""

from __future__ import annotations

import os
from importlib import import_module

os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    TRANSFORMERS_VERBOSITY="error",
    TOKENIZERS_PARALLELISM="false",
    GIT_CONFIG_GLOBAL="/dev/null",
    OMP_NUM_THREADS="1",
)
for name in (
    "torch",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.gpt2.modeling_gpt2",
    "patchhub.api",
    "patchhub.methods.ft",
    "patchhub_cli.commands.add",
    "patchhub_cli.commands.apply",
    "patchhub_cli.commands.edit",
    "patchhub_cli.commands.gc",
    "patchhub_cli.commands.revert",
    "patchhub_registry.operations.edit",
    "tests.crash.trial",
):
    import_module(name)
import_module("torch").set_num_threads(1)
