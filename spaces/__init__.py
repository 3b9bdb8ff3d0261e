"""What is searched: dimensions, shipped spaces, and the step from a sampled dict to a typed configuration."""
