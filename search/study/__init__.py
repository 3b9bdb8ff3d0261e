"""What decides which trial is next and which goes on. No Ray, so that a simulation drives the very same objects."""
