"""What stands in for the Azure Functions host on a desk: triggers, listeners, settings, logs."""
