"""Generated protobuf of this room; nothing outside imports it."""
