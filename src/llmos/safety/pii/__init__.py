"""Personal data and secrets in texts: detectors (one file a kind), a scanner over many texts, pseudonyms."""
