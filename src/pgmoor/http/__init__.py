"""Answers over HTTP, for any framework: a health report, or a request that got no connection."""
