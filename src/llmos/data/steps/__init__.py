"""The built-in steps of recipes, one file each; importing `all` registers them."""
