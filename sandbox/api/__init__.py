"""The app on :8000: our own routes, and the gateway to vLLM's."""
