"""Tests of the payment side."""
