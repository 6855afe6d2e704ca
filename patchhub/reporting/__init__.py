"""How reports look, whatever they say: words, Markdown, a page, pictures. Torch-free."""
