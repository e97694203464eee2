"""The HTTP edges: every LLM call of the process, seen on its way out."""
