"""Editing methods: one file each, found by its name; none imports another."""
