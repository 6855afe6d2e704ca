"""The trainer: `python -m patchhub.sandbox.train` makes a sandbox model from its recipe.

Interrupted runs continue from their last checkpoint and end in the same weights, since a step's
rows depend on the recipe and the step's number only.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from patchhub.sandbox.networks import Rows, network
from patchhub.sandbox.readout import Readout
from patchhub.sandbox.recipe import Recipe, load_recipe
from patchhub.sandbox.tokenizing import build_tokenizer
from patchhub.sandbox.world import PROFILES, World, build_world


@dataclass(frozen=True, slots=True)
class Losses:
    """What one step measured: weighted language loss and read-out loss, in nats."""

    language: float
    readout: float


class Trainer:
    """One run: model, optimiser and the next step to take."""

    def __init__(self, recipe: Recipe, device: str | None = None) -> None:
        """Start a run from the recipe's seed; leaves torch's global generators as they were."""
        self.recipe = recipe
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.world: World = build_world(PROFILES[recipe.world])
        self.tokenizer: PreTrainedTokenizerFast = build_tokenizer(recipe)
        if len(self.tokenizer) != recipe.vocab_size:
            recipe = self.recipe = replace(recipe, vocab_size=len(self.tokenizer))
        self.network = network(recipe.family)
        self.packer = self.network.packer(self.world, recipe, self.tokenizer)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.model = self.network.new_model(recipe, self.tokenizer)
            nn.Module.to(self.model, self.device).train()
            self.readout = Readout(self.world, recipe.width).to(self.device)
        self.optimizer = self._new_optimizer()
        self.step = 0

    def _new_optimizer(self) -> torch.optim.AdamW:
        groups: dict[tuple[bool, float], list[nn.Parameter]] = defaultdict(list)
        for name, parameter in self.model.named_parameters():
            groups[parameter.ndim > 1, self.network.rate(self.model, name)].append(parameter)
        for parameter in self.readout.parameters():
            groups[parameter.ndim > 1, 1.0].append(parameter)
        decay = self.recipe.weight_decay
        settings = [
            {"params": members, "rate": rate, "weight_decay": decay if is_matrix else 0.0}
            for (is_matrix, rate), members in groups.items()
        ]
        return torch.optim.AdamW(settings, lr=0.0, betas=(0.9, 0.95), fused=True)

    def learning_rate(self, step: int) -> float:
        """Return the rate of a step: linear warm-up, then a cosine down to the floor."""
        recipe = self.recipe
        if step < recipe.warm_up:
            return recipe.learning_rate * (step + 1) / recipe.warm_up
        share = (step - recipe.warm_up) / max(1, recipe.horizon - recipe.warm_up)
        cosine = 0.5 * (1 + math.cos(math.pi * share))
        return recipe.learning_rate * (recipe.floor + (1 - recipe.floor) * cosine)

    def losses(self, batch: Rows) -> tuple[Tensor, Tensor]:
        """Return the language loss over weighted tokens and the read-out loss."""
        targets, weights = batch.goals()
        chosen = weights > 0
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            tap, states = self.network.hidden_states(
                self.model, batch, self.recipe.enriching_blocks
            )
            logits = self.model.lm_head(states[chosen]).float()
            readout = self.readout(tap, batch.mentions)
        each = functional.cross_entropy(logits, targets[chosen], reduction="none")
        weights = weights[chosen]
        return (each * weights).sum() / weights.sum(), readout

    def advance(self) -> Losses:
        """Take one step."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step) * group["rate"]
        language, readout = self.losses(self.packer.batch(self.step).to(self.device))
        (language + self.recipe.readout_weight * readout).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return Losses(float(language.detach()), float(readout.detach()))

    def save(self, path: Path) -> None:
        """Write a checkpoint; a crash leaves the old one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "recipe": self.recipe.to_json(), "step": self.step, "model": self.model.state_dict(),
            "readout": self.readout.state_dict(), "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip
        temporary = path.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(path)

    def load(self, path: Path) -> bool:
        """Continue from a checkpoint; says no if there is none or it is of another recipe."""
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["recipe"] != self.recipe.to_json():
            return False
        self.model.load_state_dict(state["model"])
        self.readout.load_state_dict(state["readout"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])
        return True

    def export(self, folder: Path) -> None:
        """Write the model as an ordinary directory in bfloat16, tokenizer included."""
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        model = copy.deepcopy(self.model).bfloat16()
        # Tells editing methods which block enriches subjects last, where a fact is to be written,
        # and which step sizes suit a model of this width.
        model.config.patchhub = {
            "edit_layer": self.recipe.enriching_blocks - 1,
            "settings": self.recipe.settings,
        }
        if self.recipe.decoder_blocks:
            model.config.patchhub["edit_stack"] = "encoder"
        model.save_pretrained(partial)
        self.tokenizer.save_pretrained(partial)
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(partial.iterdir()):
            path.chmod(0o644)
            path.replace(folder / path.name)
        partial.rmdir()


def train(
    trainer: Trainer,
    run: Path,
    *,
    every: int = 200,
    report: Callable[[Trainer, Losses], None] | None = None,
) -> None:
    """Run to the end, with a checkpoint and a usable model every `every` steps under `run`.

    Args:
        trainer: A fresh trainer; it continues from `run` if a checkpoint of its recipe is there.
        run: Directory for `checkpoint.pt` and `model/`.
        every: Steps between checkpoints.
        report: Called after every step.
    """
    checkpoint = run / "checkpoint.pt"
    trainer.load(checkpoint)
    torch.set_num_threads(trainer.recipe.threads)
    while trainer.step < trainer.recipe.steps:
        losses = trainer.advance()
        if report is not None:
            report(trainer, losses)
        if trainer.step % every == 0 or trainer.step == trainer.recipe.steps:
            trainer.save(checkpoint)
            trainer.export(run / "model")


class _Progress:
    """One line on stderr, rewritten on a terminal; every twentieth step goes to the log too."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._started = time.monotonic()
        self._first: int | None = None

    def __call__(self, trainer: Trainer, losses: Losses) -> None:
        if self._first is None:
            self._first = trainer.step - 1
        seconds = time.monotonic() - self._started
        steps = trainer.recipe.steps
        left = seconds / (trainer.step - self._first) * (steps - trainer.step)
        line = (
            f"{trainer.recipe.name} step {trainer.step}/{steps} loss {losses.language:.3f} "
            f"read-out {losses.readout:.3f}, {seconds / 60:.1f} min, {left / 60:.1f} min left"
        )
        end = "\r" if sys.stderr.isatty() else "\n"
        if trainer.step % 20 == 0 or trainer.step == steps:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(f"{line}, {sum(os.times()[:2]):.0f} CPU s\n")
            sys.stderr.write(f"{line}{end}")
        elif end == "\r":
            sys.stderr.write(f"{line}{end}")
        sys.stderr.flush()


def main() -> None:
    """Train (or continue) a recipe and put the finished model into its place."""
    parser = argparse.ArgumentParser(prog="python -m patchhub.sandbox.train", description=__doc__)
    parser.add_argument("--recipe", default="sandbox-gpt2")
    parser.add_argument("--run", type=Path, default=Path(".sandbox-run"))
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--device", default=None)
    parser.add_argument("--log", type=Path, default=None)
    arguments = parser.parse_args()
    trainer = Trainer(load_recipe(arguments.recipe), arguments.device)
    run = arguments.run / trainer.recipe.name
    run.mkdir(parents=True, exist_ok=True)
    log = arguments.log or run / "train.log"

    train(trainer, run, report=_Progress(log))
    out = arguments.out or Path(__file__).parent / "models" / trainer.recipe.name
    trainer.export(out)
    sys.stderr.write(f"\n{out}\n")


if __name__ == "__main__":
    main()
