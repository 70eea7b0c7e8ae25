"""Helpers that know no server: tasks and threads, backoff, redaction, secrets."""
