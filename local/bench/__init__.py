"""What the app costs, measured beside what else one could do: `python3 dev.py bench`."""
