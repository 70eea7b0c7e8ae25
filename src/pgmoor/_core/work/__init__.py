"""Whole transactions: begun, committed, repeated when they fail, and resolved when in doubt."""
