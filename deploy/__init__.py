"""Everything around the services: the launcher of the local stack, the sandbox, and what operators deploy."""
