"""What LLMOS brings itself. Importing this registers it, exactly as a plugin's module would (llmos/plugins.py)."""

from __future__ import annotations
