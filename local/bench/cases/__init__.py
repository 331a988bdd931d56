"""The cases, each with its data, the app's way and its rivals."""
