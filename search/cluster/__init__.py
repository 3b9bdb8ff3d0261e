"""How to get a Ray, and what reaches its workers."""
