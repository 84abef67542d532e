"""The engines that run a model: in this process, or behind an OpenAI-compatible URL, or an echo for tests."""
