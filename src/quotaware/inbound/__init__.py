"""The ASGI edge: who calls."""
