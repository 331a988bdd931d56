"""What the app costs, measured: each module is run as `python -m local.bench.NAME`."""
