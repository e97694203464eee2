"""How a notice gets to people: one file a channel."""
