"""The live picture of one manager: evidence, phase, and why a caller gets no connection."""
