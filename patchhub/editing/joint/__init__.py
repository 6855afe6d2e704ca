"""Edits made at different times, solved as if they had been made at once."""

from __future__ import annotations

from patchhub.editing.joint.edit import JointEditor, joined_with
from patchhub.editing.joint.form import Form, KeyValueEditor, key_value_editor
from patchhub.editing.joint.inheriting import inherited, keep_earlier, same_edits, settings_of
from patchhub.editing.joint.solver import Formula, JointSolver

__all__ = [
    "Form",
    "Formula",
    "JointEditor",
    "JointSolver",
    "KeyValueEditor",
    "inherited",
    "joined_with",
    "keep_earlier",
    "key_value_editor",
    "same_edits",
    "settings_of",
]
