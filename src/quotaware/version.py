"""The version of quotaware."""

__version__ = "0.1.0"
