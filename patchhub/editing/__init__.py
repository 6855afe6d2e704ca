"""What editing methods share: tokens, templates, trace, targets, statistics, solver, the Editor."""
