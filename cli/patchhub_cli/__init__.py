"""The command line of PatchHub: parses, calls one operation, prints. Nothing else prints."""
