"""The tree of organization, team, project and key, and what it says of a caller."""
