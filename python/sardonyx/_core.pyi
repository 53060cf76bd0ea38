"""Types of the native module."""

__version__: str
protobuf_version: str
