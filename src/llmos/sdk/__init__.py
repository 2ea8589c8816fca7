"""The SDK: LLMOS, AsyncLLMOS and Model, in this process or against a server."""
