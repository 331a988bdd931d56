"""Talking to the services: one transport, tokens, cool-downs and one table of what an error means."""
