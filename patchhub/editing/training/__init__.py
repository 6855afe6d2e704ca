"""Edits by gradient: rows that teach, the loop, and what is learned as a patch."""
