"""Rows that models measure, rewrite and write: asking, keeping the answers, and checking them."""
