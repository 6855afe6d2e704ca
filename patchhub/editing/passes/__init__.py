"""Forward passes looked into, changed, cut short or shared."""
