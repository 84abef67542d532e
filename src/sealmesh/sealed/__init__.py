"""The sealed exchange: one request and its answer, readable only by the asker's node and the host process.

Pure: bytes, time and randomness come in; events and bytes go out (docs/spec/exchange.md).
"""
