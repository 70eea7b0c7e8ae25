"""One host's connections, and the queue of callers who wait for one."""
