"""Wire formats: which call is this, what did it use. One file a format, found by URL."""
