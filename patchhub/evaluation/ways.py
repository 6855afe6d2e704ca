"""Ways to edit that experiments compare: a method, and how its edits come together. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass

_JOINT = " (joint)"


@dataclass(frozen=True, slots=True, order=True)
class Way:
    """A way to make many edits.

    Attributes:
        method: Name of the editing method.
        joint: Every edit is solved anew with all before it, as ``edit --mode joint`` does; else
            each is computed on the model that carries those before it.
    """

    method: str
    joint: bool = False

    @property
    def name(self) -> str:
        """What results call it; of plain edits the method's own name."""
        return f"{self.method}{_JOINT}" if self.joint else self.method

    @classmethod
    def named(cls, name: str) -> Way:
        """The way that results call so."""
        return cls(name.removesuffix(_JOINT), name.endswith(_JOINT))
