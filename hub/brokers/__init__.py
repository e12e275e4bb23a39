"""The brokers: where events are logged and announced. One technology a file or package."""
