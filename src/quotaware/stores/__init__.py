"""Stores keep counters, reservations, records and the tenancy tree; found by URL."""
