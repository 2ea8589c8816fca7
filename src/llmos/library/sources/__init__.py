"""Where models come from: one file a source, registered by import (llmos/builtins.py)."""
