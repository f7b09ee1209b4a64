"""Feeds: messages, as a stream and over a WebSocket."""
