"""The `pgmoor` command; no other part of the library imports it.

Needs `pip install "pgmoor[cli]"`; the demo needs `pip install "pgmoor[demo]"`.
"""
