"""`pgmoor demo`: real servers broken under a program that goes on writing."""
