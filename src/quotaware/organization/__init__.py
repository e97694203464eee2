"""The organization as one file: read, planned, applied, written."""
