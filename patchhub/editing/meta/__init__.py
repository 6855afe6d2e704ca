"""Editors that learn to edit: what they are taught with, the loop, the trained editor itself."""
