"""The training platform: from data to a model that is ready to serve."""
