"""From raw price files to seeded batches. Imports no other package of this project."""
