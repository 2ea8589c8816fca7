"""Where rows go: one file a format."""
