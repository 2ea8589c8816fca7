"""Where the attempts of jobs run: child processes of this machine (local.py), or a cluster (ray.py)."""
