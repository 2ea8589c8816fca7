"""Measurements that anyone can repeat: one script a question, rivals in the same run, results with machine and load beside them."""
