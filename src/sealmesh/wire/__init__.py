"""What is the same on every stream: the kinds, the length prefix, and the operations that may be asked for."""
