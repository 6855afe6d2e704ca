"""The verbs of PatchHub: each one transaction over registry, model and checkpoint directory.

A verb loads the engine inside the function that needs it; those that only read the registry never do.
"""
