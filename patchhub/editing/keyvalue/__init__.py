"""Edits of an MLP as a memory of keys and values: keys, closed forms, how they are spread."""
