"""The data plane: authenticate, admit, relay, meter, settle. It imports neither management nor the dashboard."""
