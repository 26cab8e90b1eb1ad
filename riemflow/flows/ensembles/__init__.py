"""Many flows: of cases on many cores or machines, and of many starts integrated together."""
