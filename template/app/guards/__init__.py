"""ASGI layers around the application that keep the process well, whatever clients send."""
