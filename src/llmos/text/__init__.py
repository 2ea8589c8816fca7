"""Text <-> tokens: tokenisers, chat templates, languages, splitting."""
