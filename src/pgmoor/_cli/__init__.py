"""The command line, an edge that nothing in the library imports.

Needs `pip install "pgmoor[cli]"`; the demo needs `pip install "pgmoor[demo]"`.
"""
