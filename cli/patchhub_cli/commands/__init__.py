"""One file per command, found by its name; each has a click command called ``command``."""
