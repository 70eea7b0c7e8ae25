"""Watches the hosts, and moves every caller to another one."""
