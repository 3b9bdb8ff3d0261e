"""A run seen from outside; nothing here is a live part of a search."""
