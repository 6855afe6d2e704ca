"""Checks, one per file; a file's ``CHECK`` is the check of that name."""
