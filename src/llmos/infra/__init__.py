"""Infrastructure: compute, storage, network, and the facts about them."""
