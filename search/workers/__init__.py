"""One training in a worker, and again where the worker was lost."""
