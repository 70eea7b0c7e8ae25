"""One connection: how it is cut, cancelled, tested and asked who its server is."""
