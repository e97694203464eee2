"""Values and decisions: no I/O, no clock, nothing of the project but its errors."""
