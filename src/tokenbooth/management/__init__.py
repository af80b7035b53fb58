"""The management plane: one module per noun behind /api; never imports its siblings."""
