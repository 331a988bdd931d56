"""The Flowtrail app: everything that is deployed."""
