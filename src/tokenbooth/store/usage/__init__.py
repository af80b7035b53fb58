"""What calls cost: charges, windows, limits, reports, retention."""
