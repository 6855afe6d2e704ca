"""Second moments of keys, and the text they are from."""
