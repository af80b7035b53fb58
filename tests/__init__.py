"""The test suite; it mirrors the tree of src/tokenbooth."""
