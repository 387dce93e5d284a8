"""For tests and benchmarks only: a clock to set, a client for an app, tokens to sign. Production never imports it."""
