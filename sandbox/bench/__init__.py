"""How fast a running API is: requests sent to it, and what their answers took."""
