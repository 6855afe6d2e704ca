"""What a model reads of a request: its words, context templates, and token positions."""
