"""sealmesh: a private-inference mesh whose prompts are opened only by the host process that runs the model."""

__version__ = "0.1.0"
