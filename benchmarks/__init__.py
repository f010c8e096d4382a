"""Measurements: what squadqa costs, beside what it replaces. See README.md."""
