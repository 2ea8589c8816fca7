"""Safety: what must not leave a text, and who may see it. Data steps use it now; guards of the server stand on the same code."""
