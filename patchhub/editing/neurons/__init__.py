"""Edits of single neurons: their share of an answer, and what is written into them."""
