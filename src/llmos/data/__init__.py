"""Data tools: recipes that turn raw files into versioned, explained, annotated data sets."""
