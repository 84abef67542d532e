"""Generated protobuf of the sealed exchange; only `sealmesh.sealed` imports it."""
