"""Generated protobuf of this room; regenerate with `python -m grpc_tools.protoc`, never edit."""
