"""The management API: one module per noun behind `/api`, for keys, usage and billing."""
