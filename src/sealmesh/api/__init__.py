"""The OpenAI-compatible door for apps: limits first, then one question to an `Asker`, then its bytes as they come."""
