"""The model library: names, cards, catalogue, sources, formats, store, aliases."""
