"""The live plane of one model: which modules have slots, and what is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from patchhub.composer.slots.contents import LIVE, Contents, Sets, reserved
from patchhub.composer.slots.linear import LiveLinear
from patchhub.composer.slots.mlp import LiveMLP
from patchhub.composer.slots.passes import Closing, Opening, Pass
from patchhub.composer.slots.room import LINEAR, MLP, Room, fill
from patchhub.composer.slots.swap import Live, install, uninstall
from patchhub.errors import InvalidInputError
from patchhub.manifest import Kind, Site
from patchhub.patch import Patch
from patchhub.sites import Architecture, architecture, module_of, parameter_for, weight_matrix
from patchhub.tensornames import parameter_name


@dataclass(frozen=True, slots=True)
class _Place:
    """The module that has a weight, and the MLP that it is the down-projection of, if any."""

    path: str
    linear: nn.Module
    mlp: nn.Module | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What the slots are to hold, by weight; made by `Plane.plan`."""

    contents: Mapping[str, Contents]
    sets: int
    by_row: bool


class Plane:
    """Slots of a model.

    A weight that is `reserve`d has slots of that size from then on; others have as many as the
    patches need, and none when the last one leaves.

    Args:
        model: Whose modules get slots.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._state = Pass()
        self._places: dict[str, _Place] = {}
        self._reserved: dict[str, Room] = {}
        self._handles: list[RemovableHandle] = []

    def plan(self, stack: Sequence[Patch], rows: Sequence[Sequence[Patch]] = ()) -> Plan:
        """What the slots would hold; nothing is changed.

        Args:
            stack: Patches for every row, bottom first.
            rows: Further patches of each request of the batches to come.

        Raises:
            InvalidInputError: E112, a patch cannot act here; E163, there are not enough slots.
            NotFoundError: E144, the model has no such module.
        """
        sets = Sets(stack, rows)
        sites = {site.tensor: site for patch in sets.patches for site in patch.manifest.sites}
        for patch in sets.patches:
            _check_kind(patch)
        contents = {}
        for tensor in sets.tensors():
            place = self._places.setdefault(tensor, self._find(sites[tensor]))
            found = sets.at(tensor, _dtype(place.linear))
            if found.mlp and place.mlp is None:
                raise InvalidInputError(
                    "E112",
                    f"{tensor}: neurons cannot be added here",
                    expected="the down-projection of an MLP that is a module of its own",
                )
            contents[tensor] = found
        for tensor, room in self._reserved.items():
            room.require(reserved(contents.get(tensor), max(1, len(rows))).room, tensor)
        self._check_order(sets.patches)
        gated = any(p.kind is Kind.CODEBOOK for p in sets.patches)
        return Plan(contents, len(rows), gated or bool(rows))

    def write(self, plan: Plan) -> None:
        """Have the slots hold what a plan says, and nothing else."""
        wanted = {**dict.fromkeys(self._reserved), **plan.contents}
        for tensor, place in list(self._places.items()):
            contents = wanted.get(tensor)
            if tensor in wanted:
                self._fill(tensor, place, contents, max(1, plan.sets))
            else:
                _strip(place)
                del self._places[tensor]
        state = self._state
        state.gates = self._gates()
        state.by_row = plan.by_row
        state.sets = torch.arange(plan.sets) if plan.sets else None
        state.encoded = {}
        self._watch()

    def reserve(
        self,
        sites: Sequence[Site],
        room: Room,
        stack: Sequence[Patch],
        rows: Sequence[Sequence[Patch]] = (),
    ) -> None:
        """Have slots of a fixed size at weights from now on.

        Args:
            sites: The weights.
            room: How many.
            stack: What is on the model, as for `plan`.
            rows: The same.

        Raises:
            InvalidInputError: E112, the weight's module cannot have them; E163, they are too few.
            NotFoundError: E144, the model has no such module.
        """
        places = {site.tensor: self._find(site) for site in sites}
        for tensor, place in places.items():
            if room.neurons and place.mlp is None:
                raise InvalidInputError("E112", f"{tensor}: neurons cannot be added here")
        before = dict(self._reserved)
        self._reserved.update(dict.fromkeys(places, room))
        try:
            plan = self.plan(stack, rows)
        except InvalidInputError:
            self._reserved = before
            raise
        self._places.update(places)
        self.write(plan)

    def _fill(self, tensor: str, place: _Place, contents: Contents | None, sets: int) -> None:
        found = reserved(contents, sets)
        room = self._reserved.get(tensor, found.room)
        if room.ranks or room.keys or room.deltas:
            if not isinstance(place.linear, Live):
                install(place.linear, LiveLinear, self._state, place.path)
            fill(place.linear, LINEAR, found.linear, room, place.linear)
        elif isinstance(place.linear, Live):
            uninstall(place.linear)
        if place.mlp is None:
            return
        if room.neurons:
            if not isinstance(place.mlp, Live):
                install(place.mlp, LiveMLP, self._state, place.path)
            fill(place.mlp, MLP, found.mlp, room, place.linear)
        elif isinstance(place.mlp, Live):
            uninstall(place.mlp)

    def _find(self, site: Site) -> _Place:
        """The modules at a site, found once: an adapter on top may move them later."""
        if site.tensor in self._places:
            return self._places[site.tensor]
        parameter_for(self._model, site)
        name = site.tensor if site.runtime is None else f"{site.runtime}.weight"
        path = parameter_name(self._model, name).rpartition(".")[0]
        linear = module_of(self._model, path)
        if not isinstance(linear, nn.Linear | Conv1D):
            raise InvalidInputError(
                "E112",
                f"{site.tensor}: the module cannot have slots",
                expected="a Linear or Conv1D",
                found=type(linear).__name__,
            )
        return _Place(path, linear, self._mlp_of(path))

    def _arch(self) -> Architecture:
        return architecture(self._model.config.model_type)

    def _mlp_of(self, path: str) -> nn.Module | None:
        """The MLP whose down-projection lies at ``path``."""
        arch = self._arch()
        for name, stack in arch.stacks.items():
            for layer in range(arch.block_count(self._model, name)):
                if stack.mlp_out.format(layer) == path and stack.mlp != stack.mlp_out:
                    return module_of(self._model, stack.mlp.format(layer))
        return None

    def _order(self) -> dict[str, int]:
        """Place of each module with slots in the order in which modules run."""
        own = {place.linear: place.path for place in self._places.values()}
        return {own[m]: i for i, m in enumerate(self._model.modules()) if m in own}

    def _gates(self) -> list[str]:
        """Paths of the modules with room for keys."""
        order = self._order()
        has = [
            place.path
            for place in self._places.values()
            if isinstance(place.linear, LiveLinear) and len(place.linear.live_keys)
        ]
        return sorted(has, key=lambda path: order.get(path, -1))

    def _check_order(self, patches: Sequence[Patch]) -> None:
        """A gate must have chosen before the blocks that it chooses from are run."""
        order = self._order()
        for patch in patches:
            if patch.kind is not Kind.CODEBOOK or len(patch.payload) < 2:
                continue
            places = {name: order[self._places[name].path] for name in patch.payload}
            gate = next(name for name, roles in patch.payload.items() if "keys" in roles)
            for name, place in places.items():
                if place < places[gate]:
                    raise InvalidInputError(
                        "E112", f"{name} runs before the gate that chooses for it", found=gate
                    )

    def _watch(self) -> None:
        """Watch the model's stacks of blocks as long as any module has slots."""
        if not self._places:
            for handle in self._handles:
                handle.remove()
            self._handles.clear()
        elif not self._handles:
            arch = self._arch()
            for name, stack in arch.stacks.items():
                body = _body(self._model, stack.block)
                starts = name == "decoder" and len(arch.stacks) > 1
                opening = Opening(self._state, starts=starts)
                closing = Closing(self._state, encoder=name == "encoder")
                self._handles += [
                    body.register_forward_pre_hook(opening, with_kwargs=True),
                    body.register_forward_hook(closing),
                ]


def state_of(model: nn.Module) -> Pass | None:
    """What the modules with slots of a model share, also of a copy or inside an adapter."""
    return next((one.live_state for one in model.modules() if isinstance(one, Live)), None)


def routes_rows(model: nn.Module) -> bool:
    """Whether rows of a batch may differ in the patches that act on them."""
    state = state_of(model)
    return state is not None and state.by_row


def _strip(place: _Place) -> None:
    for module in filter(None, (place.linear, place.mlp)):
        if isinstance(module, LiveLinear | LiveMLP):
            uninstall(module)


def _body(model: nn.Module, block: str) -> nn.Module:
    """The module that runs a stack's blocks."""
    blocks = block.removesuffix(".{}")
    return module_of(model, blocks.rpartition(".")[0])


def _dtype(module: nn.Module) -> torch.dtype:
    return weight_matrix(module).dtype


def _check_kind(patch: Patch) -> None:
    if patch.kind not in LIVE:
        raise InvalidInputError(
            "E112",
            f"{patch.short} of kind {patch.kind} cannot act on some requests only",
            expected=", ".join(LIVE),
            hint="fold it into the weights for all of them",
        )
