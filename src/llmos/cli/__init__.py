"""The command line. Commands parse, call the SDK and print; they hold no logic."""
