"""Datasets, experiments, tables, plots and advice: which method, what it breaks, what it costs."""
