"""Who may do what: keys, projects, quotas, usage and the audit chain. Knows nothing of jobs and models but their ids."""
