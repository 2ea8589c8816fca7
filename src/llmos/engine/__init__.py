"""The inference engine: contract, backends, processes, pool, measured choice, label scoring."""
