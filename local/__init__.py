"""What stands in for Azure on a desk: never deployed."""
