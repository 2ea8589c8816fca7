"""Who computes the parts of a stage: threads, processes, a Ray cluster. They only carry; what is computed is data/work.py."""
