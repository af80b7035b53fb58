"""`tokenbooth doctor`: checks of an installation, each a finding with what to do about it."""
