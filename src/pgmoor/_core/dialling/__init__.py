"""How a connection is made: DNS, the race of addresses, credentials, login attempts."""
