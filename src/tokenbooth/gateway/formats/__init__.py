"""Requests and answers in the formats of OpenAI and Anthropic: reading, bounding, metering, what passes."""
