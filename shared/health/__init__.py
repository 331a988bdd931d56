"""How the app is: what it reads of itself, what it makes of that, and how it tells it."""
