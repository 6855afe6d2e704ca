"""The verbs of PatchHub: each one transaction over registry, model and checkpoint directory.

A verb loads the engine inside the function that needs it; one that only reads the registry never
does.
"""
