"""Scoring: one question put to a model, one answer, one number, and the protocol it came by."""
