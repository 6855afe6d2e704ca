"""Many pieces of work, each done once: content-addressed, resumable, here or elsewhere."""
