"""Tells what happened: log lines, events, counters, instruments."""
