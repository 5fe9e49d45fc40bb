"""Image files that cost as much as a few bytes can: made by code, each at most 1 MiB."""
