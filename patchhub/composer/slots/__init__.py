"""The live plane: patches that act while the model runs, in slots of a fixed size.

A module with slots is of a subclass of its own class, under its own name; its slots are buffers
that no checkpoint holds. Filling them writes numbers in place, so nothing is compiled anew.
"""
