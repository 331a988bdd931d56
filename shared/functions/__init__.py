"""What each function of the app does; one module a function, its `run` called by the trigger of that name."""
