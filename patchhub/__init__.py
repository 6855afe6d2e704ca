"""PatchHub: git for model edits."""
