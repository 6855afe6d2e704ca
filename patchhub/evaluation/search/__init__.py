"""Try methods, the cheapest first, until the guard passes one."""
