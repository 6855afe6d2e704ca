"""A stack of patches on a base: exact sums, identities, and the weights of a model in memory."""
