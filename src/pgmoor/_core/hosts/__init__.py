"""What is known of the hosts, and which one to use. Pure: no clock, no I/O, no logging."""
