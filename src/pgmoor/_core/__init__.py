"""What keeps connections working: ten rooms, each of which imports only from those below it."""
