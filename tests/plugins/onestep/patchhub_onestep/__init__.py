"""A method and a check for PatchHub."""
