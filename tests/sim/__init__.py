"""A deterministic simulator: real engines of several processes on one simulated store, under one seeded scheduler."""
