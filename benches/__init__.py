"""Speed and memory figures; `make bench`. README.md keeps the last table."""
