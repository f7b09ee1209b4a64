"""The fault tier: rendered services as real processes on real servers, and what befalls them."""
