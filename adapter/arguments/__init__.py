"""What each command of `wva` takes; no command is imported here, so that --help answers at once."""
