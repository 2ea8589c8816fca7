"""The HTTP server: OpenAI-compatible routes, LLMOS own routes, thin adapters for other clients."""
