"""The guard: checks measure an edit before and after, a policy judges, a verdict says so."""
