"""Load generators, each a process of its own: plan as JSON on standard input, marks as JSON lines on its output."""
