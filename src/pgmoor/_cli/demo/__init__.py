"""`pgmoor demo`: breaks real servers under a program that keeps writing."""
