"""From the arguments of a manager to frozen, validated `Settings`."""
