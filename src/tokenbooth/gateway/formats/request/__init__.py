"""Reading requests of any format: single fields, tools, content, and what nobody priced."""
