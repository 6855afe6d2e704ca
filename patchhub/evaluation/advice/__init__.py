"""Which method to use here, by results and constraints. Torch-free."""
