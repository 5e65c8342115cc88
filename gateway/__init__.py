"""The chat front ends."""
