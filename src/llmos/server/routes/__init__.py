"""One file a route family; each gives a `router`. app.py lists them."""
