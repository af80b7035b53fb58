"""Background work: the inbox, reconciliation, the chain scan and sweeps; never imports its siblings."""
