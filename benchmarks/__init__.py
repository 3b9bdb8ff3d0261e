"""One script a performance claim; each prints one JSON line."""
