"""The test suite; `unit` mirrors the tree of src, `system` takes the product from outside."""
